"""A network as a method: composition, start, windows, what it refuses."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from tests.learned.building import network_method, network_node


class Constant(nn.Module):
    """Stands in for the network and returns one value everywhere."""

    def __init__(self, value: float, slices: int = 1) -> None:
        super().__init__()
        self.value, self.slices = value, slices

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.full((len(inputs), self.slices, *inputs.shape[-2:]), self.value)


def ray_of(beam: ParallelBeam) -> RayTransform:
    return RayTransform(ImageGrid((8, 8), 1.0), beam)


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf")])
def test_network_output_stays_on_the_trace(make_case, value: float) -> None:
    scan = make_case().scan
    method = network_method()
    method.generator = Constant(value)
    completed = method.complete(scan).sinogram
    trace = scan.metal_trace
    assert torch.equal(completed[~trace], scan.measured[~trace])
    expected = (scan.fills["nmar"] + value)[trace]
    assert torch.equal(completed[trace].nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize("fill", ["zero", "li", "nmar"])
@pytest.mark.parametrize("slices", [1, 3])
def test_untrained_method_equals_its_fill(make_case, fill: str, slices: int) -> None:
    scan = make_case(slices=slices).scan
    completed = network_method(fill=fill, slices=slices).complete(scan).sinogram
    expected = scan.fills.get(fill, torch.where(scan.metal_trace, 0.0, scan.measured))
    assert torch.equal(completed, expected)


def test_2d_method_completes_the_centre_of_three_slices(make_case) -> None:
    scan = make_case(slices=3).scan
    completed = network_method().complete(scan).sinogram
    assert torch.equal(completed, scan.center().fills["nmar"])


def test_three_slice_method_needs_three(make_case) -> None:
    with pytest.raises(CtmarError, match="slices=3 needs a sample of that many slices, got 1"):
        network_method(slices=3).complete(make_case().scan)


@pytest.mark.parametrize(("views", "bins"), [(30, 367), (45, 729)])
def test_odd_sizes_pass(make_case, views: int, bins: int) -> None:
    scan = make_case(batch=1, views=views, bins=bins).scan
    method = network_method(network=network_node(channels=[8, 8, 16, 16]), wrap_views=16)
    nn.init.normal_(method.generator.net.head.weight)
    completed = method.complete(scan).sinogram
    assert completed.shape == scan.measured.shape
    assert torch.equal(completed[~scan.metal_trace], scan.measured[~scan.metal_trace])


@pytest.mark.parametrize(("margin", "matters"), [(4, False), (None, True)])
def test_bins_beyond_the_margin_have_no_say(make_case, margin: int | None, matters: bool) -> None:
    scan = make_case().scan
    method = network_method(network=network_node(channels=[8, 16, 16]), margin_bins=margin).eval()
    nn.init.normal_(method.generator.net.head.weight)
    # The outermost bins on both sides, which the margin must leave out for this test to say anything.
    assert not scan.metal_trace[..., [0, 1, 2, -3, -2, -1]].any()
    edges = torch.zeros_like(scan.measured)
    edges[..., [0, 1, -2, -1]] = 100.0
    shifted = dataclasses.replace(
        scan, measured=scan.measured + edges, fills={name: fill + edges for name, fill in scan.fills.items()}
    )
    trace = scan.metal_trace
    answers = [method.complete(one).sinogram[trace] for one in (scan, shifted)]
    assert torch.allclose(*answers, atol=1e-5) != matters


def test_beam_that_does_not_wrap_is_refused_unless_nothing_relies_on_it() -> None:
    shifted = ParallelBeam(48, 65, 1.0, det_offset_mm=0.25)
    with pytest.raises(CtmarError, match="wrap_views must have uniform views over π and a centred detector"):
        network_method().check(ray_of(shifted))
    with pytest.raises(CtmarError, match="wrap_views must be at most the 4 views, got 8"):
        network_method().check(ray_of(ParallelBeam(4, 65, 1.0)))
    network_method(wrap_views=0).check(ray_of(shifted))
    network_method().check(ray_of(ParallelBeam(48, 65, 1.0)))


def test_fills_that_are_not_at_hand_are_completed(make_case) -> None:
    case = make_case(batch=1)
    bare = dataclasses.replace(case.scan, fills={})
    ready = network_method(fill="li", inputs=("fill", "fill_nmar")).ready(bare)
    assert set(ready.fills) == {"li", "nmar"}
    for fill in ready.fills.values():
        assert torch.equal(fill[~bare.metal_trace], bare.measured[~bare.metal_trace])
    # Those at hand are taken, and what is not needed is left.
    assert set(network_method(fill="li", inputs=("fill",)).ready(case.scan).fills) == {"li"}
    assert network_method(fill="li").ready(case.scan).fills["li"] is case.scan.fills["li"]


def test_a_network_of_ones_own_completes_from_its_channels(make_case) -> None:
    scan = make_case(slices=3).scan
    own = partial(nn.Conv2d, kernel_size=3, padding=1)
    method = network_method(network=own, inputs=("measured", "trace"), slices=3)
    assert (method.generator.net.in_channels, method.generator.net.out_channels) == (6, 3)
    completed = method.complete(scan).sinogram
    trace = scan.metal_trace
    assert torch.equal(completed[~trace], scan.measured[~trace])
    assert not torch.equal(completed[trace], scan.fills["nmar"][trace])


@pytest.mark.parametrize("network", ["gated", "partial"])
def test_networks_for_holes_are_told_the_trace_of_the_middle_slice(network: str) -> None:
    method = network_method(network=network, inputs=("measured", "trace"), slices=3)
    assert method.generator.net.hole_channel == 4
    with pytest.raises(CtmarError, match="needs trace among the inputs, got measured"):
        network_method(network=network, inputs=("measured",))


def test_what_the_fill_knows_of_a_ray_stands_against_the_network(make_case) -> None:
    scan = make_case().scan
    deviation = torch.zeros_like(scan.measured)
    rays = scan.metal_trace.nonzero()[:4]
    for ray, value in zip(rays, (0.0, 0.05, 0.1, 0.2), strict=True):
        deviation[tuple(ray)] = value
    told = dataclasses.replace(scan, deviations={"nmar": deviation})
    method = network_method(prior_error=0.1)
    method.generator = Constant(1.5)
    added = method.complete(told).sinogram - scan.fills["nmar"]
    found = [float(added[tuple(ray)]) for ray in rays]
    assert found == pytest.approx([0.0, 1.5 / 4, 1.5, 1.5], abs=1e-6)


def test_a_fill_that_tells_no_deviation_is_no_prior(make_case) -> None:
    with pytest.raises(CtmarError, match="deviation needs a method that tells one, got 'nmar'"):
        network_method(prior_error=0.1).complete(make_case().scan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_error": 0.0}, "prior_error must be positive, got 0.0"),
        ({"slices": 2}, "slices must be one of 1, 3, got 2"),
        ({"sinogram_scale": 0.0}, "sinogram_scale must be positive, got 0.0"),
        ({"path_scale_mm": -1.0}, "path_scale_mm must be positive, got -1.0"),
        ({"residual_scale": float("nan")}, "residual_scale must be positive, got nan"),
        ({"margin_bins": -1}, "margin_bins must be 0 or more, got -1"),
        ({"wrap_views": -1}, "wrap_views must be 0 or more, got -1"),
        ({"inputs": ()}, "inputs must name a channel or more, got none"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        network_method(**options)
