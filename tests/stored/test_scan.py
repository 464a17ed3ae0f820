"""The scan that stored slices stand for: what is measured, what is metal, what is completed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from ctmar.case import Scan
from ctmar.geometry import ParallelBeam
from ctmar.methods import NMAR
from ctmar.operators import RayTransform
from ctmar.physics.materials import MATERIALS, attenuation
from ctmar.stored import MU_WATER, MetalRule, StoredScan, find_metal, stored_scan
from ctmar.stored.virtual import trace_of, virtual_ray, without_metal
from ctmar.units import hu_to_mu
from tests.stored_images import PIXELS, SPACING_MM, body

Ray = RayTransform[ParallelBeam]
Stored = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def ray() -> Ray:
    return virtual_ray((PIXELS, PIXELS), SPACING_MM)


@pytest.fixture(scope="module")
def image(screws: Stored) -> Tensor:
    return torch.from_numpy(screws[0]).float()


@pytest.fixture(scope="module")
def bright(image: Tensor) -> Tensor:
    """Screws and as many pixels of streaks."""
    return torch.from_numpy(find_metal(image.numpy(), SPACING_MM**2, MetalRule(2500, 2000)))


@pytest.fixture(scope="module")
def streak(screws: Stored, bright: Tensor) -> Tensor:
    """Bright pixels apart from all metal: a pixel or more of its own lies between."""
    return bright & torch.from_numpy(~ndimage.binary_dilation(screws[2] > 0, np.ones((3, 3))))


def integrals(ray: Ray, image_hu: Tensor, mu_water: float = MU_WATER) -> Tensor:
    return ray.forward(hu_to_mu(image_hu, mu_water))


def trace_through(ray: Ray, mask: Tensor) -> Tensor:
    return trace_of(ray.forward(mask.float()))


def all_bright(image: Tensor, bright: Tensor, ray: Ray) -> Scan:
    """The scan whose rays through bright pixels are all taken for metal's, as NMAR completes it first."""
    trace, path = trace_through(ray, bright), ray.forward(bright.float())
    bare = integrals(ray, without_metal(image, bright))
    measured = torch.where(trace, integrals(ray, image), bare)
    fields = (measured, trace, bright, torch.where(trace, path, 0.0))
    return Scan(*(x[None, None] for x in fields), mu_water=torch.tensor([MU_WATER]), ray=ray)


@pytest.fixture(scope="module")
def found(image: Tensor, bright: Tensor, ray: Ray) -> StoredScan:
    return stored_scan(image[None], bright[None], ray)


def test_water_attenuates_as_the_tables_say() -> None:
    assert pytest.approx(float(attenuation(MATERIALS["water"], np.array([70.0]))[0]), rel=1e-3) == MU_WATER


def test_a_bright_streak_is_not_among_the_metal(
    found: StoredScan, screws: Stored, bright: Tensor, streak: Tensor
) -> None:
    metal, steel = found.scan.metal_mask[0, 0], torch.from_numpy(screws[2] > 0.5)
    assert not (metal & ~bright).any()
    assert (metal & steel).sum() >= 0.99 * steel.sum()
    assert streak.sum() > 100 and (metal & streak).sum() < 0.3 * streak.sum()
    assert ((found.share[0] >= 0.5) & streak).sum() < 0.1 * streak.sum()


def test_the_trace_is_that_of_the_metal_and_its_path_is_the_masks(found: StoredScan, ray: Ray) -> None:
    scan, metal = found.scan, found.scan.metal_mask[0, 0]
    assert torch.equal(scan.metal_trace[0, 0], trace_through(ray, metal))
    wanted = torch.where(scan.metal_trace[0, 0], ray.forward(metal.float()), 0.0)
    assert torch.equal(scan.metal_path_mm[0, 0], wanted)


def test_on_the_trace_the_line_integrals_are_those_of_the_image_with_its_metal(
    found: StoredScan, image: Tensor, ray: Ray
) -> None:
    trace = found.scan.metal_trace[0, 0]
    assert torch.equal(found.scan.measured[0, 0][trace], integrals(ray, image)[trace])


def test_off_the_trace_they_are_bit_for_bit_what_nmar_leaves_of_the_image_without_what_is_bright(
    found: StoredScan, image: Tensor, bright: Tensor, ray: Ray
) -> None:
    off = ~found.scan.metal_trace[0, 0]
    left = NMAR().complete(all_bright(image, bright, ray)).sinogram[0, 0]
    assert torch.equal(found.scan.measured[0, 0][off], left[off])
    untouched = ~trace_through(ray, bright)
    assert not (untouched & ~off).any()
    bare = integrals(ray, without_metal(image, bright))
    assert torch.equal(found.scan.measured[0, 0][untouched], bare[untouched])
    assert torch.equal(found.bare[0], bare) and torch.equal(found.bare_hu[0], without_metal(image, bright))


def test_rays_through_a_streak_alone_are_completed(
    found: StoredScan, image: Tensor, bright: Tensor, streak: Tensor, ray: Ray
) -> None:
    alone = trace_through(ray, streak) & ~found.scan.metal_trace[0, 0]
    assert alone.any()
    seen, whole = found.scan.measured[0, 0][alone], integrals(ray, image)[alone]
    assert (seen != whole).float().mean() > 0.99
    left = NMAR().complete(all_bright(image, bright, ray)).sinogram[0, 0]
    assert torch.equal(seen, left[alone])


def test_nmar_is_at_hand_and_leaves_what_was_measured(
    found: StoredScan, image: Tensor, bright: Tensor, ray: Ray
) -> None:
    fill, trace = found.scan.fills[NMAR().key], found.scan.metal_trace
    first = NMAR().complete(all_bright(image, bright, ray)).sinogram
    assert torch.equal(fill[trace], first[trace])
    assert torch.equal(fill[~trace], found.scan.measured[~trace])


def test_what_is_said_to_be_metal_is_not_asked_for_again(image: Tensor, bright: Tensor, ray: Ray) -> None:
    cut = image.clamp(-1024, 3071)[None]
    found = stored_scan(cut, bright[None], ray, clipped=True, confirm=False)
    scan = found.scan
    assert torch.equal(found.share[0], bright.float())
    wanted = all_bright(image.clamp(-1024, 3071), bright, ray)
    assert torch.equal(scan.metal_mask, bright[None, None])
    for name in ("measured", "metal_trace", "metal_path_mm"):
        assert torch.equal(getattr(scan, name), getattr(wanted, name)), name


def test_three_slices_are_the_same_one_by_one(image: Tensor, bright: Tensor, ray: Ray) -> None:
    images = torch.stack([image, torch.from_numpy(body().astype(np.float32)), image.flip(1)])
    masks = torch.stack([bright, torch.zeros_like(bright), bright.flip(1)])
    three = stored_scan(images, masks, ray)
    assert three.scan.measured.shape[:2] == (1, 3)
    for index in range(3):
        only = slice(index, index + 1)
        one, taken = stored_scan(images[only], masks[only], ray), three.scan.take(only)
        for name in ("measured", "metal_trace", "metal_mask", "metal_path_mm"):
            assert torch.equal(getattr(one.scan, name), getattr(taken, name)), (index, name)
        assert torch.equal(one.scan.fills["nmar"], taken.fills["nmar"])
        assert torch.equal(one.bare, three.bare[only]) and torch.equal(one.bare_hu, three.bare_hu[only])


@pytest.mark.parametrize("clipped", [False, True])
def test_without_a_bright_pixel_the_trace_is_empty_and_nothing_is_completed(
    clipped: bool, image: Tensor, bright: Tensor, ray: Ray
) -> None:
    found = stored_scan(image[None], torch.zeros_like(bright)[None], ray, clipped=clipped)
    whole = integrals(ray, image)[None, None]
    assert not found.scan.metal_trace.any() and not found.scan.metal_path_mm.any()
    assert not found.scan.metal_mask.any()
    assert torch.equal(found.scan.measured, whole) and torch.equal(found.scan.fills["nmar"], whole)
    assert torch.equal(found.bare_hu[0], image) and torch.equal(found.bare[None], whole)


def test_line_integrals_scale_with_the_attenuation_of_water(image: Tensor, bright: Tensor, ray: Ray) -> None:
    one, two = (stored_scan(image[None], bright[None], ray, mu, clipped=True) for mu in (0.02, 0.04))
    assert float(one.scan.mu_water) == pytest.approx(0.02) and float(two.scan.mu_water) == pytest.approx(0.04)
    assert torch.equal(one.scan.metal_trace, two.scan.metal_trace)
    torch.testing.assert_close(two.scan.measured, 2 * one.scan.measured)
    torch.testing.assert_close(two.bare, 2 * one.bare)
    assert torch.equal(one.bare_hu, two.bare_hu)
    # And the image of either is the stored one: HU do not depend on it.
    images = [x.scan.image_hu(x.scan.measured) for x in (one, two)]
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=0.5)


def test_what_is_known_of_the_scan_travels_with_it(found: StoredScan, image: Tensor, ray: Ray) -> None:
    assert found.scan.kvp == () and len(found.scan) == 1 and found.scan.ray is ray
    told = stored_scan(image[None], torch.zeros_like(found.scan.metal_mask[0]), ray, kvp=120.0)
    assert told.scan.kvp == (120.0,)
    assert replace(told.scan, kvp=None).case_id == found.scan.case_id
