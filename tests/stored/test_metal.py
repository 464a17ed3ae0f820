"""Metal by threshold: seeds, growth, specks, and a threshold from the scan's own histogram."""

import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.stored import BrightVoxels, MetalRule, find_metal

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
