"""Metal told from streaks as bright as metal, in scans as they are corrected."""

import numpy as np

from ctmar.clinical import SliceCorrector, correct
from ctmar.stored import MetalRule, find_metal
from tests.stored_images import SPACING_MM

RULE = MetalRule(2500, 2000)
Stored = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_streaks_are_told_from_metal_in_a_scan(screws: Stored) -> None:
    image, reference, share = screws
    steel, bright = share > 0.5, find_metal(image, SPACING_MM**2, RULE)
    streaks = bright & (share == 0)
    assert streaks.sum() > steel.sum(), "there must be as many streaks as bright as metal"
    outcome = SliceCorrector(image.shape, (SPACING_MM, SPACING_MM), "nmar").correct([image], [bright])
    assert (outcome.metal & steel).sum() >= 0.99 * steel.sum()
    assert (outcome.metal & streaks).sum() < 0.3 * streaks.sum()
    assert np.array_equal(outcome.image_hu[outcome.metal], image[outcome.metal])
    gone = streaks & ~outcome.metal
    before, after = (np.abs(x - reference)[gone].mean() for x in (image, outcome.image_hu))
    assert after < 0.25 * before


def test_where_values_are_cut_off_streaks_are_told_too(screws: Stored) -> None:
    image, steel = screws[0].clip(-1024, 3071), screws[2] > 0.5
    bright = find_metal(image, SPACING_MM**2, RULE)
    spacing = (SPACING_MM, SPACING_MM)
    outcome = SliceCorrector(image.shape, spacing, "nmar", clipped=True).correct([image], [bright])
    assert (outcome.metal & steel).sum() > 0.75 * steel.sum()
    assert (outcome.metal & bright & (screws[2] == 0)).sum() < 0.3 * (bright & (screws[2] == 0)).sum()


def test_thin_wires_are_kept_that_do_not_look_like_metal(with_rods: Stored) -> None:
    image = with_rods[1].copy()
    wires = [(40, 30), (41, 60), (70, 44)]
    for at in wires:
        image[at] = 2600.0
    corrected = correct(image[None], (SPACING_MM, SPACING_MM, 2.0), method="li", rule=RULE)[0]
    assert all(corrected[at] == image[at] for at in wires)


def test_on_oblong_pixels_the_metal_stays_inside_of_what_was_bright(screws: Stored) -> None:
    image, share = screws[0][::2], screws[2][::2]
    bright = find_metal(image, 2 * SPACING_MM**2, RULE)
    outcome = SliceCorrector(image.shape, (2 * SPACING_MM, SPACING_MM), "nmar").correct([image], [bright])
    assert not (outcome.metal & ~bright).any()
    assert outcome.metal[share > 0.5].mean() > 0.9
    assert outcome.metal.sum() < 0.8 * bright.sum()
    assert np.array_equal(outcome.image_hu[outcome.metal], image[outcome.metal])
