"""Network inputs, a class a channel."""

from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import pytest
import torch
import yaml

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.inputs import Channel, Units, stack_inputs
from ctmar.inputs.angle import Angle
from ctmar.inputs.deviation import Deviation
from ctmar.inputs.difference import Difference
from ctmar.inputs.fill import Fill, FillBy
from ctmar.inputs.hardening import LIMIT, Hardening
from ctmar.inputs.measured import Measured, MeasuredZeroed
from ctmar.inputs.path import Path
from ctmar.inputs.trace import Trace
from ctmar.learned.network import trace_window
from ctmar.learned.rebuilding import rebuilt
from ctmar.methods import LI, NMAR, Zero
from ctmar.methods.base import Classical, Completed, Method, filled, with_fills
from ctmar.networks.wrap import mirror_left_right, pad_views
from tests.tiny_network import tiny_network

UNITS = Units(4.0, 50.0)


@dataclass(frozen=True)
class Doubtful(Classical):
    """Says of every ray how far it may be off: a thousandth for each mm in metal."""

    name = "doubtful"

    def trace(self, scan: Scan) -> Completed:
        return Completed(scan.measured / 2, scan.metal_path_mm / 1000)


CONFIGS = sorted((FilePath(__file__).parents[2] / "configs" / "input").glob("*.yaml"))


def configured(config: FilePath) -> Channel:
    """The channel that a file of ``configs/input`` describes."""
    node = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert list(node) == [config.stem]  # the name under which a network lists it
    channel: Channel = rebuilt(node)[config.stem]
    return channel.of(Doubtful()) if isinstance(channel, Deviation) else channel


def over_configs(test):  # type: ignore[no-untyped-def]
    return pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)(test)


def test_channels_follow_their_order_and_scales(make_case) -> None:
    scan = make_case().scan
    channels = [Path(), Measured(), Difference(), Trace(), Fill()]
    stacked = stack_inputs(channels, scan, filled(scan, LI()), UNITS)
    path, measured, difference, trace, fill = stacked.unbind(1)
    off = ~scan.metal_trace[:, 0]
    assert torch.equal(path, scan.metal_path_mm[:, 0] / 50)
    assert torch.equal(measured, scan.measured[:, 0] / 4)
    assert torch.equal(fill, scan.fills["li"][:, 0] / 4)
    assert torch.equal(trace, scan.metal_trace[:, 0].float())
    assert torch.count_nonzero(difference[off]) == 0
    assert difference[~off].abs().min() > 0
    torch.testing.assert_close(difference, (scan.measured - scan.fills["li"])[:, 0] / 4)


def test_the_angle_closes_over_half_a_turn_and_is_blind_to_the_side(make_case) -> None:
    scan = make_case(views=48).scan
    angle = Angle()(scan, scan.fills["nmar"], UNITS)
    assert angle.shape == scan.measured.shape
    assert angle[0, 0, 0].unique().item() == 1 and angle[0, 0, 24].unique().item() == -1
    torch.testing.assert_close(mirror_left_right(angle), angle)
    assert (pad_views(angle, 1).diff(dim=-2).abs() < 0.14).all()  # no step where the views close


def test_slices_of_a_channel_stand_together(make_case) -> None:
    scan = make_case(slices=3).scan
    inputs = stack_inputs([Measured(), Trace()], scan, scan.fills["nmar"], Units(2.0, 50.0))
    assert inputs.shape == (2, 6, 48, 65)
    assert torch.equal(inputs[:, :3], scan.measured / 2)
    assert torch.equal(inputs[:, 3:], scan.metal_trace.float())


@over_configs
@pytest.mark.parametrize("slices", [1, 3])
def test_every_config_gives_finite_channels_of_the_sinograms_shape_and_writes_nothing(
    make_case, config: FilePath, slices: int
) -> None:
    scan, channel = make_case(slices=slices).scan, configured(config)
    fields = (scan.measured, scan.metal_trace, scan.metal_path_mm, *scan.fills.values())
    before = [field.clone() for field in fields]
    found = channel(scan, scan.fills["nmar"], UNITS)
    assert found.shape == scan.measured.shape and found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert all(torch.equal(a, b) for a, b in zip(before, fields, strict=True))


@over_configs
def test_a_channel_of_some_bins_is_those_bins_of_it(make_case, config: FilePath) -> None:
    scan, channel, window = make_case().scan, configured(config), slice(5, 60)
    fill = scan.fills["nmar"]
    assert not scan.metal_trace[..., :5].any() and not scan.metal_trace[..., 60:].any()
    cut = channel(scan.bins(window), fill[..., window], UNITS)
    torch.testing.assert_close(cut, channel(scan, fill, UNITS)[..., window])


def test_there_is_a_config_for_every_channel_and_each_gives_its_own() -> None:
    wanted = {
        "angle": Angle(),
        "deviation": Deviation(Doubtful()),
        "difference": Difference(),
        "fill": Fill(),
        "fill_li": FillBy(LI()),
        "fill_nmar": FillBy(NMAR()),
        "hardening": Hardening(),
        "hardening_weighted": Hardening(weighted=True),
        "measured": Measured(),
        "measured_zeroed": MeasuredZeroed(),
        "path": Path(),
        "trace": Trace(),
    }
    assert {config.stem: configured(config) for config in CONFIGS} == wanted


@pytest.mark.parametrize("deviation,seen", [(1e-5, -1), (1e-3, -1), (10**-1.5, 0), (1, 1), (20, 1)])
def test_a_deviation_is_seen_as_its_logarithm(make_case, deviation: float, seen: float) -> None:
    scan = make_case().scan
    trace, path = scan.metal_trace, torch.full_like(scan.measured, 1000 * deviation)
    found = Deviation(Doubtful())(replace(scan, metal_path_mm=path), scan.measured, UNITS)
    torch.testing.assert_close(found[trace], torch.full_like(found[trace], seen))
    assert torch.count_nonzero(found[~trace]) == 0


def test_a_deviation_at_hand_is_taken_and_that_of_the_networks_fill_needs_no_name(make_case) -> None:
    scan, method = with_fills(make_case().scan, [Doubtful()]), Doubtful()
    known = replace(scan, deviations={method.key: scan.deviations[method.key] * 10})
    network = tiny_network(inputs={"deviation": Deviation()}, fill=method)
    assert network.ready(known).deviations.keys() == {method.key}
    found = network.inputs_of(network.ready(known), known.fills[method.key])
    path = scan.metal_path_mm
    wanted = Deviation(Doubtful())(replace(scan, fills={}, metal_path_mm=10 * path), path, UNITS)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("method,got", [(None, "none"), (LI(), "'li'")])
def test_a_deviation_of_a_method_that_tells_none_is_refused(make_case, method: Method, got: str) -> None:
    scan = make_case().scan
    with pytest.raises(CtmarError, match=f"needs a method that tells one, got {got}"):
        Deviation(method)(scan, scan.measured, UNITS)


def test_a_network_that_would_see_nothing_is_refused() -> None:
    with pytest.raises(CtmarError, match="inputs must name a channel or more, got none"):
        tiny_network(inputs={})


def test_fills_by_name_are_those_methods_whatever_the_networks_own(make_case) -> None:
    scan = make_case().scan
    for method in (LI(), NMAR()):
        found = FillBy(method)(scan, torch.zeros_like(scan.measured), UNITS)
        assert torch.equal(found, scan.fills[method.key] / 4)
    computed = FillBy(LI())(replace(scan, fills={}), torch.zeros_like(scan.measured), UNITS)
    assert torch.equal(computed, LI().complete(scan).sinogram / 4)


def test_zeroed_hides_what_lies_behind_the_metal(make_case) -> None:
    scan = make_case().scan
    changed = replace(scan, measured=scan.measured + 7 * scan.metal_trace)

    def both(channel: Channel) -> list[torch.Tensor]:
        return [channel(s, Zero().complete(s).sinogram, UNITS) for s in (scan, changed)]

    assert torch.equal(*both(MeasuredZeroed()))
    assert not torch.equal(*both(Measured()))


@pytest.mark.parametrize("weighted", [False, True])
def test_hardening_finds_the_fills_error_where_metal_is_a_function_of_its_length(
    make_case, weighted: bool
) -> None:
    case = make_case()
    scan = case.scan
    wanted = torch.where(scan.metal_trace, 0.1 * torch.arange(48)[:, None].sin(), 0.0)
    found = Hardening(weighted)(scan, case.truth.clean - wanted, UNITS)
    assert not found[~scan.metal_trace].any()
    left = (found - wanted)[scan.metal_trace].square().mean()
    assert left < 0.5 * wanted[scan.metal_trace].square().mean()


def test_weighted_hardening_distrusts_starved_rays(make_case) -> None:
    scan = make_case().scan
    dark = replace(scan, measured=torch.where(scan.metal_trace, scan.measured + 14.0, scan.measured))

    def largest(of: Scan) -> torch.Tensor:
        return Hardening(weighted=True)(of, of.fills["nmar"], UNITS).abs().max()

    assert largest(dark) < 0.1 * largest(scan)


def test_hardening_is_cut_where_rays_are_noise(make_case) -> None:
    scan = make_case().scan
    torch.manual_seed(0)
    noisy = scan.measured + 9 * torch.randn(scan.measured.shape) * scan.metal_trace
    found = Hardening()(replace(scan, measured=noisy), scan.fills["nmar"], UNITS)
    assert found.abs().max() == LIMIT


@pytest.mark.parametrize(
    "first,last,margin,kept",
    [(8, 11, 2, (6, 14)), (8, 11, 9, (0, 20)), (0, 3, 0, (0, 20)), (5, 19, 0, (0, 20)), (3, 12, 1, (2, 18))],
)
def test_the_window_holds_the_trace_and_its_mirror(
    first: int, last: int, margin: int, kept: tuple[int, int]
) -> None:
    trace = torch.zeros(2, 1, 6, 20, dtype=torch.bool)
    trace[0, 0, 1, first], trace[1, 0, 4, last] = True, True
    assert trace_window(trace, margin) == slice(*kept)
    assert trace_window(torch.zeros_like(trace), margin) == slice(0, 20)
