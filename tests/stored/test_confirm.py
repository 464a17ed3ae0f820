"""Metal told from streaks as bright as metal, by the rays through both."""

import numpy as np
import pytest
import torch

from ctmar.case import Scan
from ctmar.clinical import SliceCorrector, correct
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.stored import MetalRule, find_metal
from ctmar.stored.confirm import confirmed_metal, footprints
from ctmar.stored.virtual import trace_of, virtual_ray
from tests.stored_images import PIXELS, SPACING_MM, body, disk

RULE = MetalRule(2500, 2000)
Stored = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_the_matrix_projects_a_disk_to_its_chords() -> None:
    grid, beam = ImageGrid((80, 80), 0.75), ParallelBeam(24, 181, 0.375, 0.3)
    values = disk(7, -9, 10, 80, 0.75)
    mask = values > 0
    seen = (footprints(mask, grid, beam, 3) @ values[mask]).reshape(8, 181)
    at = (np.arange(181) - 90) * 0.375 + 0.3
    angles = beam.theta[::3, None]
    off = at - (7 * np.cos(angles) - 9 * np.sin(angles))
    chords = 2 * np.sqrt(np.maximum(10**2 - off**2, 0))
    # Two bins a pixel: the mean of both is free of the pixels' own pattern.
    pairs = [(x[:, :-1:2] + x[:, 1::2]) / 2 for x in (seen, chords)]
    assert np.sqrt(np.mean((pairs[0] - pairs[1]) ** 2)) < 0.02 * 20
    np.testing.assert_allclose(seen.sum(1) * 0.375, np.full(8, values.sum() * 0.75**2), rtol=1e-5)


def test_what_misses_the_detector_is_left_out() -> None:
    mask = np.ones((8, 8), bool)
    system = footprints(mask, ImageGrid((8, 8), 1.0), ParallelBeam(4, 4, 1.0))
    assert system.shape == (16, 64)
    assert (system[:4] @ np.ones(64)).sum() == pytest.approx(32)  # of 64 mm², half beside the four bins


def metal_found(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The confirmed part of ``mask`` where metal of 0.2/mm lies at ``truth`` and the tissue is known."""
    ray = virtual_ray((PIXELS, PIXELS), SPACING_MM)
    tissue = 0.02 * torch.from_numpy((body() > -500).astype(np.float32))
    bare, metal = ray.forward(tissue), ray.forward(0.2 * torch.from_numpy(truth.astype(np.float32)))
    image = ray.fbp(bare + metal)
    excess = torch.where(torch.from_numpy(mask), image - tissue, 0.0)
    path = ray.forward(torch.from_numpy(mask).float())
    scan = Scan(
        measured=ray.forward(image)[None, None],
        metal_trace=trace_of(path)[None, None],
        metal_mask=torch.from_numpy(mask)[None, None],
        metal_path_mm=path[None, None],
        mu_water=torch.full((1,), 0.02),
        ray=ray,
    )
    emptied = ray.forward(image - excess)
    return confirmed_metal(excess, torch.from_numpy(mask), emptied, scan, bare).numpy()


def test_metal_stays_and_what_is_none_goes() -> None:
    rod, beside = disk(20, 10, 8) > 0.5, disk(20, 10, 16) > 0.5
    found = metal_found(rod, beside)
    assert (found & rod).sum() == rod.sum()
    assert (found & ~rod).sum() < 0.1 * (beside & ~rod).sum()


def test_a_mask_without_anything_in_it_is_left_as_it_is() -> None:
    mask = disk(20, 10, 8) > 0.5
    assert np.array_equal(metal_found(np.zeros_like(mask), mask), mask)


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
    assert after < 0.1 * before


def test_a_scan_that_is_cut_off_keeps_all_that_is_bright(screws: Stored) -> None:
    image = screws[0].clip(-1024, 3071)
    bright = find_metal(image, SPACING_MM**2, RULE)
    corrected = correct(image[None], (SPACING_MM, SPACING_MM, 2.0), method="li", rule=RULE)[0]
    assert np.array_equal(corrected[bright], image[bright])


def test_on_oblong_pixels_the_metal_stays_inside_of_what_was_bright(screws: Stored) -> None:
    image, share = screws[0][::2], screws[2][::2]
    bright = find_metal(image, 2 * SPACING_MM**2, RULE)
    outcome = SliceCorrector(image.shape, (2 * SPACING_MM, SPACING_MM), "nmar").correct([image], [bright])
    assert not (outcome.metal & ~bright).any()
    assert outcome.metal[share > 0.5].mean() > 0.9
    assert outcome.metal.sum() < 0.8 * bright.sum()
    assert np.array_equal(outcome.image_hu[outcome.metal], image[outcome.metal])
