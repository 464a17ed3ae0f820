"""A U-Net on images: what it sees, and what comes back as a sinogram."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.learned.graph import save_graph
from ctmar.networks.images import ANSWER_PER_MM, IMAGE_SCALE, LEAST, MOST, ImageDomainUNet
from ctmar.operators import RayTransform
from tests.learned.building import fitted_method, network_node

GRID = ImageGrid((96, 96), 1.5)
BEAM = ParallelBeam(120, 137, 1.5)


class Seen(nn.Module):
    """Stands in for the U-Net: keeps the images, and answers the first of them in units of its answer."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images[:, :1] / IMAGE_SCALE / ANSWER_PER_MM


def network(channels: int = 2) -> ImageDomainUNet:
    return ImageDomainUNet(channels, 1, shape=GRID.shape, spacing_mm=GRID.spacing_mm, channels=[8, 16])


def disc(beam: ParallelBeam, radius_mm: float = 40.0, mu: float = 0.02) -> Tensor:
    """The exact line integrals of a disc about the axis, ``(1, 1, angle, detector)``."""
    bins = (torch.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm
    chord = 2 * mu * (radius_mm**2 - bins**2).clamp(min=0).sqrt()
    return chord.expand(1, 1, *beam.shape).contiguous()


def test_untrained_it_answers_nothing() -> None:
    sinogram = torch.rand(2, 2, *BEAM.shape)
    assert not network()(sinogram, BEAM).any()


def test_it_sees_water_as_one_and_what_it_answers_is_projected() -> None:
    net = network()
    net.net = seen = Seen()
    water = disc(BEAM)
    answer = net(torch.cat([water / 4, 100 * water], 1), BEAM)
    inside = seen.images[0, :, 40:56, 40:56]
    assert float(inside[0].mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(inside[1], torch.full_like(inside[1], MOST)) and float(seen.images.min()) >= LEAST
    # FBP and projection of a disc are the disc's own line integrals, but for its rim's pixels.
    error = (4 * answer - water)[..., abs(torch.arange(137) - 68) < 24]
    assert float(error.abs().max()) < 0.03 * float(water.max())


def test_other_rays_show_the_same_images() -> None:
    net, fine = network(1), ParallelBeam(200, 273, 0.75)
    net.net = seen = Seen()
    net(disc(BEAM) / 4, BEAM)
    coarse = seen.images
    net(disc(fine) / 4, fine)
    assert seen.images.shape == coarse.shape
    assert float((seen.images - coarse)[0, 0, 30:66, 30:66].abs().max()) < 0.05


def test_gradients_reach_the_weights() -> None:
    net = network()
    nn.init.normal_(net.net.head.weight, std=0.01)
    net(torch.rand(1, 2, *BEAM.shape), BEAM).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


def test_it_completes_as_any_network_does(make_case, tmp_path) -> None:
    node = network_node("images", shape=[48, 48], spacing_mm=1.3)
    method = fitted_method(network=node, inputs=("measured", "fill", "path"))
    assert (method.margin_bins, method.generator.views) == (None, 0)
    scan = make_case().scan
    assert scan.ray.beam == ParallelBeam(48, 65, 1.0)
    completed = method.complete(scan).sinogram
    trace = scan.metal_trace
    assert torch.equal(completed[~trace], scan.measured[~trace])
    assert not torch.equal(completed[trace], scan.fills["nmar"][trace])
    # Its images are its own, whatever pixels the scan is shown on.
    again = replace(scan, ray=RayTransform(ImageGrid((64, 64), 1.0), scan.ray.beam))
    assert torch.equal(method.complete(again).sinogram, completed)
    with pytest.raises(CtmarError, match="a graph must hold its network alone"):
        save_graph(tmp_path / "a.pt2", method, scan.ray.beam)
