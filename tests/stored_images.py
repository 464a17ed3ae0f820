"""Small stored images: a disk of water with bone, metal and the streaks of a polychromatic scan."""

import numpy as np

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators import RayTransform
from ctmar.physics import Noise, Scanner, Tube
from ctmar.units import mu_to_hu

PIXELS, SPACING_MM = 112, 2.0
RODS_MM = ((-28, -10), (32, -14))


def disk(
    x: float, y: float, radius: float, pixels: int = PIXELS, spacing_mm: float = SPACING_MM
) -> np.ndarray:
    """Share of each pixel inside a disk, nearly; lengths in mm."""
    c = (np.arange(pixels) - (pixels - 1) / 2) * spacing_mm
    distance = np.hypot(c[None, :] - x, -c[:, None] - y)
    return np.clip(0.5 - (distance - radius) / spacing_mm, 0, 1).astype(np.float32)


def body(pixels: int = PIXELS, spacing_mm: float = SPACING_MM) -> np.ndarray:
    """Water with two rods of bone and a hole of air, HU."""
    hu = -1000 + 1040 * disk(0, 0, 95, pixels, spacing_mm)
    for x, y in ((0, -45), (-50, 30)):
        hu += 600 * disk(x, y, 14, pixels, spacing_mm)
    return hu - 1040 * disk(15, 55, 15, pixels, spacing_mm)


def scanned(metal: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What a scanner of fan beams stores of the body with ``metal``, and without noise or metal; whole HU.

    Acquired on pixels a third of the stored ones' size and two sub-rays a bin, reconstructed by rebinning:
    neither the grid nor the rays are those that a correction projects.
    """
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(2e6))
    grid = ImageGrid((PIXELS, PIXELS), SPACING_MM)
    fan = FanBeam(360, 251, 2.4, 570, 470, "arc")
    fine = RayTransform(grid.refine(3), fan.refine(2))
    hu = body(3 * PIXELS, SPACING_MM / 3)[None]
    parts = {} if metal is None else {"316L": metal[None]}
    scan = scanner.acquire(hu, parts, fine, [np.random.SeedSequence(0)])
    ray = RayTransform(grid, fan)
    images = [
        mu_to_hu(ray.fbp(x, "hann"), scanner.mu_water)[0].numpy().round() for x in (scan.measured, scan.ideal)
    ]
    return images[0], images[1]


def rods() -> np.ndarray:
    """Two steel rods on the finer grid of :func:`scanned`."""
    return np.sum([disk(x, y, 5, 3 * PIXELS, SPACING_MM / 3) for x, y in RODS_MM], axis=0)
