"""How much of a bright pixel is metal: the network and what it is shown."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.config.build import build_simulator
from ctmar.networks.occupancy import PIXELS_MM, MetalOccupancy, occupancy, seen_metal
from ctmar.stored import BrightVoxels, find_metal
from scripts import measure_clinical

SPACING_MM = 0.7


@pytest.fixture(scope="module")
def steel() -> tuple[Tensor, Tensor]:
    """A validation scan of screws with streaks as bright as they are; where metal fills half a pixel."""
    words = ("anatomy=thorax", "data=realistic", "geometry=large", "scanner=clinical", "data.fills=[]")
    simulator = build_simulator(measure_clinical.config(*words), 1)
    scan = simulator.case("val", 1).scan
    image = scan.image_hu(scan.measured)[0, 0].round()
    return image, measure_clinical.mostly_metal(simulator, 1, "val")


def bright(image: Tensor, spacing_mm: float = SPACING_MM) -> Tensor:
    voxels = BrightVoxels()
    voxels.add(image.numpy())
    return torch.from_numpy(find_metal(image.numpy(), spacing_mm**2, voxels.rule()))


def dice(one: Tensor, other: Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("cut_off", [False, True])
def test_metal_is_told_from_streaks_as_bright(steel: tuple[Tensor, Tensor], cut_off: bool) -> None:
    image, metal = steel
    image = image.clamp(-1024, 3071) if cut_off else image
    found = bright(image)
    share = seen_metal(image, found, SPACING_MM)[0]
    assert share.min() >= 0 and share.max() <= 1 and not share[~found].any()
    assert dice(found, metal) < 0.8 and dice(share >= 0.5, metal) > 0.83
    assert (share >= 0.1)[metal].float().mean() > 0.98


def test_nothing_bright_is_no_metal() -> None:
    image = torch.full((96, 80), 40.0)
    assert not seen_metal(image, torch.zeros(96, 80, dtype=torch.bool), 0.7).any()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_pixels_of_another_size_are_brought_to_those_of_the_training(
    steel: tuple[Tensor, Tensor], factor: float
) -> None:
    image, metal = steel
    size = [round(n / factor) for n in image.shape]
    resized, whole = (
        torch.nn.functional.interpolate(x[None, None].float(), size, mode="area")[0, 0]
        for x in (image, metal)
    )
    spacing_mm = SPACING_MM * factor
    assert not PIXELS_MM[0] <= spacing_mm <= PIXELS_MM[1]
    share = seen_metal(resized, bright(resized, spacing_mm), spacing_mm)[0]
    assert share.shape == resized.shape and dice(share >= 0.5, whole >= 0.5) > 0.75


def test_what_lies_far_away_has_no_say(steel: tuple[Tensor, Tensor]) -> None:
    image, _ = steel
    found = bright(image)
    changed = image.clone()
    changed[:8] = 300.0
    assert torch.equal(seen_metal(image, found, SPACING_MM), seen_metal(changed, found, SPACING_MM))


def test_the_network_takes_images_of_any_size_and_loads_once() -> None:
    net = occupancy()
    assert net is occupancy() and isinstance(net, MetalOccupancy) and not net.training
    assert not any(p.requires_grad for p in net.parameters())
    share = net(
        torch.from_numpy(np.linspace(-1000, 9000, 2 * 37 * 53, dtype=np.float32).reshape(2, 1, 37, 53))
    )
    assert share.shape == (2, 2, 37, 53) and torch.isfinite(share).all()
