"""How much metal each slice of a volume holds, roughly and fast: what a centre slice is chosen by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy.body import Anatomy
from ctmar.implants.shapes import Part
from ctmar.vectors import FloatArray

PIXEL_MM = 1.0
PLANES = 3
"""A slice is sampled on this many planes."""


def metal_areas_mm2(anatomy: Anatomy, parts: Sequence[Part], slices: range) -> NDArray[np.float64]:
    """Metal in each of ``slices`` in mm² ``(len(slices),)``, by counting points; overlaps count once."""
    total = np.zeros(len(slices))
    if not parts or not len(slices):
        return total
    boxes = [part.shape.bounds_mm() for part in parts]
    low, high = np.min([b[0] for b in boxes], axis=0), np.max([b[1] for b in boxes], axis=0)
    step = anatomy.spacing_mm[2] / PLANES
    heights = (slices[0] - 0.5) * anatomy.spacing_mm[2] + (np.arange(len(slices) * PLANES) + 0.5) * step
    axes = [heights, np.arange(low[1], high[1], PIXEL_MM), np.arange(low[0], high[0], PIXEL_MM)]
    metal = np.zeros([len(axis) for axis in axes], dtype=bool)
    for part, box in zip(parts, boxes, strict=True):
        window = tuple(
            _between(axis, a, b) for axis, a, b in zip(axes, box[0][::-1], box[1][::-1], strict=True)
        )
        metal[window] |= part.shape.signed_distance(_points(axes, window)) < 0
    counts = metal.reshape(len(slices), -1).sum(axis=1)
    return counts * PIXEL_MM**2 / PLANES


def _between(axis: FloatArray, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, "right")))


def _points(axes: Sequence[FloatArray], window: tuple[slice, ...]) -> FloatArray:
    """Points (x, y, z) of a window of the axes (z, y, x)."""
    grid = np.meshgrid(*(axis[s] for axis, s in zip(axes, window, strict=True)), indexing="ij")
    return np.stack(grid[::-1], axis=-1)
