"""Metal by threshold: seeds, growth, specks, and a threshold from the scan's own histogram."""

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.stored import BrightVoxels, MetalRule, find_metal
from ctmar.stored.metal import brightened, ran_over

RULE = MetalRule(2500, 2000, 1.0)


def test_a_region_reaches_from_its_seed_to_the_lower_threshold() -> None:
    image = np.full((8, 8), 40.0)
    image[2, 2:6] = [2600, 2100, 2100, 1900]
    image[3, 6] = 2100  # touches nothing above 2000
    image[6, 6] = 2400  # no seed
    expected = np.zeros((8, 8), bool)
    expected[2, 2:5] = True
    assert np.array_equal(find_metal(image, 1.0, RULE), expected)


def test_diagonal_neighbours_belong_together() -> None:
    image = np.full((6, 6), 40.0)
    image[[1, 2, 3], [1, 2, 3]] = [2600, 2100, 2100]
    assert find_metal(image, 1.0, RULE).sum() == 3


@pytest.mark.parametrize(("inside", "filled"), [(1500, True), (1001, True), (900, False), (300, False)])
def test_a_hole_too_bright_for_tissue_is_metal(inside: float, filled: bool) -> None:
    image = np.full((9, 9), 40.0)
    image[2:7, 2:7] = 3000
    image[4, 4:6] = [1900, inside]  # a pixel of it alone may be as bright
    assert find_metal(image, 1.0, RULE)[4, 4:6].tolist() == [filled] * 2


@pytest.mark.parametrize(("area_mm2", "found"), [(0.49, 0), (0.5, 2)])
def test_specks_are_left_out_by_their_area(area_mm2: float, found: int) -> None:
    image = np.full((6, 6), 40.0)
    image[3, 3:5] = 2800
    assert find_metal(image, area_mm2, RULE).sum() == found


def test_the_threshold_lies_in_the_gap_between_bone_and_metal() -> None:
    generator = np.random.default_rng(0)
    bone = 2300 - generator.exponential(60, 4000)  # dense, up to 2300
    metal = generator.uniform(2420, 3071, 4000)
    bright = BrightVoxels()
    for part in np.split(np.concatenate([bone, metal]), 4):
        bright.add(part)
    rule = bright.rule()
    assert 2300 <= rule.high_hu <= 2420 and rule.low_hu == pytest.approx(0.8 * rule.high_hu)


def test_a_scan_without_metal_gets_the_highest_threshold() -> None:
    bright = BrightVoxels()
    bright.add(np.random.default_rng(0).normal(40, 300, 10000))
    assert bright.rule().high_hu == 2500


@pytest.mark.parametrize("bad", [(2000, 2500, 1), (2500, 0, 1), (2500, 2000, -1), (np.nan, 2000, 1)])
def test_thresholds_that_make_no_sense_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(CtmarError, match=r"threshold|area"):
        MetalRule(*bad)


@pytest.mark.parametrize("ceiling", [1500, 1976, 2047, 2250, 2400, 2499.5, 3071, 4095])
def test_what_is_cut_off_is_metal_at_any_ceiling(
    ceiling: float, with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    image = with_rods[0].clip(-1024, ceiling)
    voxels = BrightVoxels()
    voxels.add(image)
    rule = voxels.rule()
    assert voxels.ceiling == ceiling and voxels.clipped(rule) and rule.high_hu < ceiling
    found = find_metal(image, 4.0, rule)
    assert found[image == ceiling].all() and found[with_rods[2] > 0.99].all()


def test_a_ceiling_below_bone_lowers_no_threshold(
    with_rods: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    voxels = BrightVoxels()
    voxels.add(with_rods[0].clip(-1024, 800))
    assert voxels.ceiling == 800 and voxels.rule().high_hu == 2500


def overflown(image: np.ndarray, kind: str) -> np.ndarray:
    """What a scanner stores whose values do not fit: the lowest one, or what is left of them."""
    if kind == "modulo 4096":
        return (image + 1024) % 4096 - 1024
    return np.where(image > 3071, {"lowest": -1024, "far lowest": -32768}[kind], image)


@pytest.mark.parametrize("kind", ["modulo 4096", "lowest", "far lowest"])
def test_dark_cores_are_of_the_metal(kind: str, with_rods: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    rod = np.hypot(*(np.indices((40, 40)) - 19.5))
    solid = np.interp(rod, [0, 5, 9, 11], [4000, 3300, 2700, 40])
    image = overflown(solid, kind)
    metal = find_metal(image, 1.0, MetalRule(2500, 2000))
    core = solid > 3071
    assert core.sum() > 50 and metal[core].all()
    assert np.array_equal(ran_over(image, metal), core)
    assert np.array_equal(brightened(image, metal)[core], np.full(core.sum(), image.max()))
    assert np.array_equal(brightened(image, metal)[~metal], image[~metal])


def test_a_core_without_a_closed_ring_of_metal_is_a_seed_itself() -> None:
    """Where a pixel is half of the metal, and the next one ran over, nothing between is as bright."""
    image = np.full((12, 12), 40.0)
    image[3:8, 3:8] = 1250
    image[4:7, 4:7] = -700
    for corner in ((4, 4), (4, 6), (6, 4), (6, 6)):
        image[corner] = 2385
    metal = find_metal(image, 1.0, MetalRule(2500, 2000))
    assert np.array_equal(np.argwhere(metal), np.argwhere((image == 2385) | (image == -700)))
    for dark, other in ((-150, 1250), (-700, 900)):
        tissue = np.where(image == -700, dark, np.where(image == 1250, other, image))
        assert not find_metal(tissue, 1.0, MetalRule(2500, 2000)).any()


def test_the_lumen_of_a_stent_is_no_metal() -> None:
    radius = np.hypot(*(np.indices((40, 40)) - 19.5))
    for lumen in (300, 40, -100, -150):
        image = np.where(np.abs(radius - 8) < 1.5, 3071.0, np.where(radius < 8, lumen, 40))
        metal = find_metal(image, 1.0, MetalRule(2500, 2000))
        assert not metal[radius < 6].any() and not ran_over(image, metal).any()


def test_streaks_in_a_ring_of_metals_own_hu_are_no_metal() -> None:
    radius = np.hypot(*(np.indices((40, 40)) - 19.5))
    image = np.where(np.abs(radius - 8) < 1.5, 12000.0, np.where(radius < 8, -600, 40))
    assert not find_metal(image, 1.0, MetalRule(2500, 2000))[radius < 6].any()


def test_padding_as_bright_as_metal_is_none() -> None:
    image = np.full((64, 64), 40.0)
    radius = np.hypot(*(np.indices((64, 64)) - 31.5))
    image[radius > 31] = 3071
    image[30:34, 30:34] = 3071
    voxels = BrightVoxels()
    voxels.add(image)
    assert voxels.ceiling == 3071 and voxels.counts.sum() == 0
    assert np.array_equal(np.argwhere(find_metal(image, 4.0, MetalRule(2500, 2000))).min(axis=0), [30, 30])
