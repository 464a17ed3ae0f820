"""Stored images with streaks as bright as metal, and those of the correction's tests."""

import numpy as np
import pytest

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators import RayTransform
from ctmar.physics import Noise, Scanner, Tube
from ctmar.units import mu_to_hu
from tests.stored_images import PIXELS, SPACING_MM, body, disk


def bar(ends_mm: tuple[float, float, float, float], width_mm: float, pixels: int) -> np.ndarray:
    """Where a bar lies between two points, on an image of ``PIXELS * SPACING_MM``."""
    c = (np.arange(pixels) - (pixels - 1) / 2) * PIXELS * SPACING_MM / pixels
    x, y = c[None, :] - ends_mm[0], -c[:, None] - ends_mm[1]
    along = np.array([ends_mm[2] - ends_mm[0], ends_mm[3] - ends_mm[1]])
    length = float(np.hypot(*along))
    ux, uy = along / length
    a, b = x * ux + y * uy, y * ux - x * uy
    return np.asarray((a > 0) & (a < length) & (np.abs(b) < width_mm / 2))


@pytest.fixture(scope="session")
def screws() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
