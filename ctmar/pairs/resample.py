"""Images of any pixel size on the grid of a run."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.units import AIR_HU

SAME = 1e-3
"""Pixel sizes that differ by less, relative, are the same."""


def is_on(shape: tuple[int, ...], spacing_mm: tuple[float, float], grid: ImageGrid) -> bool:
    """Whether slices of this shape and spacing are on the grid already."""
    near = all(abs(spacing / grid.spacing_mm - 1) < SAME for spacing in spacing_mm)
    return near and tuple(shape[-2:]) == grid.shape


def on_grid(
    image: NDArray[np.floating], spacing_mm: tuple[float, float], grid: ImageGrid, outside: float = AIR_HU
) -> NDArray[np.float32]:
    """A slice on the grid, about the common centre; the same bits where it is on it already.

    The mean over the new pixel where that is the larger one, linear interpolation where it is not.

    Args:
        image: ``(row, column)``.
        spacing_mm: Distance between rows and between columns.
        grid: The run's pixels.
        outside: What lies beyond the image.

    Raises:
        CtmarError: The grid does not hold the whole image.
    """
    if is_on(image.shape, spacing_mm, grid):
        return np.asarray(image, np.float32)
    sizes = [n * spacing for n, spacing in zip(image.shape, spacing_mm, strict=True)]
    if any(size > whole + grid.spacing_mm for size, whole in zip(sizes, grid.size_mm, strict=True)):
        raise CtmarError(
            f"an image must lie within the run's grid of {grid.size_mm[0]:.4g} × {grid.size_mm[1]:.4g} mm"
            f" (geometry.grid), got {sizes[0]:.4g} × {sizes[1]:.4g} mm"
        )
    down, across = (
        _weights(old, spacing, new, grid.spacing_mm)
        for old, spacing, new in zip(image.shape, spacing_mm, grid.shape, strict=True)
    )
    found: NDArray[np.float32] = (down @ (image.astype(np.float64) - outside) @ across.T + outside).astype(
        np.float32
    )
    return found


def nearest_on_grid(
    labels: NDArray[np.generic], spacing_mm: tuple[float, float], grid: ImageGrid
) -> NDArray[np.float32]:
    """The same of labels: the nearest pixel's, 0 beyond the image."""
    if is_on(labels.shape, spacing_mm, grid):
        return np.asarray(labels, np.float32)
    steps = [grid.spacing_mm / spacing for spacing in spacing_mm]
    starts = [(n - 1) / 2 - (m - 1) / 2 * s for n, m, s in zip(labels.shape, grid.shape, steps, strict=True)]
    found: NDArray[np.float32] = ndimage.affine_transform(
        np.asarray(labels, np.float32), steps, starts, grid.shape, order=0, mode="constant", cval=0
    )
    return found


def _weights(old: int, old_mm: float, new: int, new_mm: float) -> NDArray[np.float64]:
    """What each old pixel of a line gives to each new one, ``(new, old)``."""
    here = (np.arange(new) - (new - 1) / 2) * new_mm
    there = (np.arange(old) - (old - 1) / 2) * old_mm
    if new_mm > old_mm:
        ends = [np.minimum.outer(here + new_mm / 2, there + old_mm / 2)]
        ends += [np.maximum.outer(here - new_mm / 2, there - old_mm / 2)]
        return np.asarray((ends[0] - ends[1]).clip(0) / new_mm)
    return np.asarray((1 - np.abs(np.subtract.outer(here, there)) / old_mm).clip(0))
