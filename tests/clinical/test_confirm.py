"""Metal told from streaks as bright as metal, by the rays through both."""

import numpy as np
import pytest
import torch

from ctmar.clinical import MetalRule, SliceCorrector, correct, find_metal
from ctmar.clinical.confirm import confirmed_metal, footprints
from ctmar.clinical.methods import Views
from ctmar.clinical.virtual import trace_of, virtual_ray
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Noise, Scanner, Tube
from ctmar.units import mu_to_hu
from tests.clinical.conftest import PIXELS, SPACING_MM, body, disk

RULE = MetalRule(2500, 2000)
Scan = tuple[np.ndarray, np.ndarray, np.ndarray]


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
    views = Views(ray.forward(image - excess), trace_of(path), path, ray)
    return confirmed_metal(excess, torch.from_numpy(mask), views, bare).numpy()


def test_metal_stays_and_what_is_none_goes() -> None:
    rod, beside = disk(20, 10, 8) > 0.5, disk(20, 10, 16) > 0.5
    found = metal_found(rod, beside)
    assert (found & rod).sum() == rod.sum()
    assert (found & ~rod).sum() < 0.1 * (beside & ~rod).sum()


def test_a_mask_without_anything_in_it_is_left_as_it_is() -> None:
    mask = disk(20, 10, 8) > 0.5
    assert np.array_equal(metal_found(np.zeros_like(mask), mask), mask)


def bar(ends_mm: tuple[float, float, float, float], width_mm: float, pixels: int) -> np.ndarray:
    """Where a bar lies between two points, on an image of ``PIXELS * SPACING_MM``."""
    c = (np.arange(pixels) - (pixels - 1) / 2) * PIXELS * SPACING_MM / pixels
    x, y = c[None, :] - ends_mm[0], -c[:, None] - ends_mm[1]
    along = np.array([ends_mm[2] - ends_mm[0], ends_mm[3] - ends_mm[1]])
    length = float(np.hypot(*along))
    ux, uy = along / length
    a, b = x * ux + y * uy, y * ux - x * uy
    return np.asarray((a > 0) & (a < length) & (np.abs(b) < width_mm / 2))


@pytest.fixture(scope="module")
def screws() -> Scan:
    """Two steel screws as in a vertebra: stored image, metal-free reference, share of each pixel."""
    fine = 2 * PIXELS
    metal = np.zeros((fine, fine), bool)
    for side in (-1, 1):
        metal |= bar((20 * side, -40, 10 * side, 10), 7, fine)
        metal |= disk(20 * side, -40, 8, fine, SPACING_MM / 2) > 0.5
    grid, fan = ImageGrid((PIXELS, PIXELS), SPACING_MM), FanBeam(480, 401, 1.5, 570, 470, "arc")
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(2e5))
    hu, parts = body(fine, SPACING_MM / 2)[None], {"316L": metal[None].astype(np.float32)}
    scan = scanner.acquire(
        hu, parts, RayTransform(grid.refine(2), fan.refine(2)), [np.random.SeedSequence(0)]
    )
    images = (RayTransform(grid, fan).fbp(x)[0] for x in (scan.measured, scan.ideal))
    stored, reference = (mu_to_hu(x, scanner.mu_water).numpy().round() for x in images)
    return stored, reference, metal.reshape(PIXELS, 2, PIXELS, 2).mean((1, 3))


def test_streaks_are_told_from_metal_in_a_scan(screws: Scan) -> None:
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


def test_a_scan_that_is_cut_off_keeps_all_that_is_bright(screws: Scan) -> None:
    image = screws[0].clip(-1024, 3071)
    bright = find_metal(image, SPACING_MM**2, RULE)
    corrected = correct(image[None], (SPACING_MM, SPACING_MM, 2.0), method="li", rule=RULE)[0]
    assert np.array_equal(corrected[bright], image[bright])


def test_on_oblong_pixels_the_metal_stays_inside_of_what_was_bright(screws: Scan) -> None:
    image, share = screws[0][::2], screws[2][::2]
    bright = find_metal(image, 2 * SPACING_MM**2, RULE)
    outcome = SliceCorrector(image.shape, (2 * SPACING_MM, SPACING_MM), "nmar").correct([image], [bright])
    assert not (outcome.metal & ~bright).any()
    assert outcome.metal[share > 0.5].mean() > 0.9
    assert outcome.metal.sum() < 0.8 * bright.sum()
    assert np.array_equal(outcome.image_hu[outcome.metal], image[outcome.metal])
