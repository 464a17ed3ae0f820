"""Whether an image grid holds the body: what lies outside is missing from every sinogram."""

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy.body import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.scenes.scene import volume_center_mm

MAX_OUTSIDE = 0.01
"""Share of the body's pixels that may lie outside the grid."""


def require_cover(anatomy: Anatomy, grid: ImageGrid, body: NDArray[np.bool_], z: range) -> None:
    """Raise where more than 1 % of the body in slices ``z`` lies outside the grid; a truncated body may.

    Args:
        anatomy: The body.
        grid: The image, centred on the volume's in-plane centre.
        body: Bool ``(z, y, x)`` of the volume's shape, True inside the patient.
        z: Slices that matter.
    """
    if body.shape != anatomy.hu.shape:
        raise CtmarError(f"body must have the volume's shape {anatomy.hu.shape}, got {body.shape}")
    if anatomy.truncated:
        return
    pixels = body[np.asarray(z, dtype=int)].sum(axis=0)
    rows, columns = np.nonzero(pixels)
    if len(rows) == 0:
        return
    center = volume_center_mm(anatomy)
    x = np.abs(columns * anatomy.spacing_mm[0] - center[0])
    y = np.abs(rows * anatomy.spacing_mm[1] - center[1])
    height, width = grid.size_mm
    counts = pixels[rows, columns]
    outside = counts[(x > width / 2) | (y > height / 2)].sum() / counts.sum()
    if outside > MAX_OUTSIDE:
        needed = 2 * y.max() + anatomy.spacing_mm[1], 2 * x.max() + anatomy.spacing_mm[0]
        raise CtmarError(
            f"the image must cover the body of {anatomy.name}: "
            f"{needed[0]:.0f} × {needed[1]:.0f} mm (height × width)"
            f" about the volume's centre, got {height:.0f} × {width:.0f} mm"
        )
