"""Where each ray meets each row of an array: the one table behind every linear map.

All maps interpolate linearly along lines of an array: line ``l`` of view ``v`` meets element ``n`` at

    ``c = offset[v] + per_line[v] * l + per_element[v] * n``   (in elements, 0 is the first one's centre)

with weight ``weight[v]``. Joseph's method (Joseph 1982, IEEE TMI 1:192) walks image rows for
near-vertical rays and image columns for the others, and looks up pixels; the pixel-driven
backprojection walks image rows and looks up bins. A sample outside the array counts as zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.geometry import ImageGrid, ParallelBeam

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lines:
    """The table of one group of views; every field has one float64 entry a view.

    ``views`` holds the views' places in the sinogram (int64).
    """

    views: NDArray[np.int64]
    offset: Floats
    per_line: Floats
    per_element: Floats
    weight: Floats


def joseph_lines(grid: ImageGrid, beam: ParallelBeam) -> tuple[Lines, Lines]:
    """Joseph's table in mm: first the views that walk image rows, then those that walk columns.

    Element ``n`` is detector bin n; ``c`` is a column (first group) or a row (second group).
    """
    rows, columns = grid.shape
    cos, sin = np.cos(beam.theta), np.sin(beam.theta)
    step = beam.det_spacing_mm / grid.spacing_mm
    first = (beam.det_offset_mm - _center_s(grid, cos, sin)) / grid.spacing_mm - (
        beam.det_count - 1
    ) / 2 * step
    middle_row, middle_column = (rows - 1) / 2, (columns - 1) / 2
    by_row = np.abs(cos) >= np.abs(sin)

    v = np.flatnonzero(by_row)
    c, s = cos[v], sin[v]
    walk_rows = Lines(
        v, (first[v] - middle_row * s) / c + middle_column, s / c, step / c, grid.spacing_mm / np.abs(c)
    )
    v = np.flatnonzero(~by_row)
    c, s = cos[v], sin[v]
    walk_columns = Lines(
        v, middle_row - (first[v] + middle_column * c) / s, c / s, -step / s, grid.spacing_mm / np.abs(s)
    )
    return walk_rows, walk_columns


def pixel_lines(grid: ImageGrid, beam: ParallelBeam, weights: Floats) -> Lines:
    """The pixel-driven table: line l is image row l, element n image column n, ``c`` a detector bin.

    ``weights`` are the views' shares of π in rad, so that the map approximates the integral over θ.
    """
    rows, columns = grid.shape
    cos, sin = np.cos(beam.theta), np.sin(beam.theta)
    ratio = grid.spacing_mm / beam.det_spacing_mm
    centre = (beam.det_count - 1) / 2 - (beam.det_offset_mm - _center_s(grid, cos, sin)) / beam.det_spacing_mm
    offset = centre + ratio * ((rows - 1) / 2 * sin - (columns - 1) / 2 * cos)
    return Lines(np.arange(beam.num_angles), offset, -ratio * sin, ratio * cos, weights)


def _center_s(grid: ImageGrid, cos: Floats, sin: Floats) -> Floats:
    """Position s of the grid's centre in each view, mm."""
    x, y = grid.center_mm
    return x * cos + y * sin


def view_weights(beam: ParallelBeam) -> Floats:
    """Share of each view in the integral over θ ∈ [0, π), in rad: half the gap to each neighbour mod π."""
    angles = np.mod(beam.theta, np.pi)
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[order], append=angles[order[0]] + np.pi)
    weights = np.empty_like(angles)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights
