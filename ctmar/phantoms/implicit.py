"""Shapes as signed distances (mm, negative inside) and how they are painted into a volume.

Distances are exact for round capsules and first-order near the surface for the other shapes, which is
where they are used: edges, shells a millimetre thick, and smooth unions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""Distances, HU and coordinates: float32 in practice (numpy's types lose that in mixed expressions)."""
Box = tuple[slice, slice, slice]
Point = Sequence[float] | NDArray[np.float64]
FAR = np.float32(1e3)


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Union with a fillet of about ``k`` mm."""
    h = np.maximum(k - np.abs(a - b), 0.0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k / 4)


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Intersection with its edge rounded by about ``k`` mm."""
    return -smooth_min(-a, -b, k)


def coverage(distance: Array, width: float) -> Array:
    """Share of a voxel inside the shape, linear over ``width`` mm: the partial-volume edge."""
    return np.clip(np.float32(0.5) - distance / np.float32(width), 0.0, 1.0)


def ellipsoid(u: Array, v: Array, w: Array, radii: Point) -> Array:
    """Ellipsoid around the origin, half-axes ``radii`` in mm."""
    u, v, w = (c / np.float32(r) for c, r in zip((u, v, w), radii, strict=True))
    q = np.sqrt(u * u + v * v + w * w)
    slope = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2)
    return (q * (q - 1) / np.maximum(slope, np.float32(1e-4))).astype(np.float32)


def ellipse(u: Array, v: Array, radii: tuple[float, float]) -> Array:
    """Upright elliptic cylinder around the origin."""
    a, b = (np.float32(r) for r in radii)
    q = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2)
    return (q * (q - 1) / np.maximum(slope, np.float32(1e-4))).astype(np.float32)


def capsule(
    points: Sequence[Array], start: Point, end: Point, radii: tuple[float, float], stretch: float = 1.0
) -> Array:
    """Rounded cone from ``start`` to ``end``; its cross-section is ``stretch`` times as high as wide."""
    scale = np.array([1.0, 1.0, stretch])
    a = np.asarray(start) / scale
    axis = np.asarray(end) / scale - a
    parts = zip(points, scale, a, strict=True)
    p = [(x / np.float32(s) if s != 1 else x) - np.float32(o) for x, s, o in parts]
    dot = sum(x * np.float32(d) for x, d in zip(p, axis, strict=True))
    t = np.clip(dot / np.float32(axis @ axis), 0.0, 1.0)
    square = sum((x - t * np.float32(d)) ** 2 for x, d in zip(p, axis, strict=True))
    radius = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
    return np.asarray(np.sqrt(square) - radius, np.float32)


@dataclass(frozen=True)
class Frame:
    """A local frame: ``axes`` has u (left), v (back), w (up) as columns; ``center`` in mm."""

    center: NDArray[np.float64]
    axes: NDArray[np.float64]

    def point(self, u: float, v: float, w: float) -> NDArray[np.float64]:
        """A local point in the volume's own frame (x, y, z), mm."""
        return np.asarray(self.center + self.axes @ np.array([u, v, w]))


@dataclass(frozen=True)
class Grid:
    """Voxel grid: ``shape`` (z, y, x), ``spacing_mm`` (x, y, z); voxel [0, 0, 0] at 0 mm."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def box(self, low: Point, high: Point) -> Box:
        """Slices (z, y, x) of the voxels between two points (x, y, z); empty outside the grid."""
        ends = []
        for axis in (2, 1, 0):
            step, count = self.spacing_mm[axis], self.shape[2 - axis]
            first = min(max(int(np.ceil(low[axis] / step)), 0), count)
            ends.append(slice(first, max(min(int(np.floor(high[axis] / step)) + 1, count), first)))
        return ends[0], ends[1], ends[2]

    def around(self, points: Sequence[NDArray[np.float64]], reach: float) -> Box:
        """The box of points (x, y, z) and ``reach`` mm on every side."""
        stack = np.asarray(points)
        return self.box(stack.min(0) - reach, stack.max(0) + reach)

    def axes(self, box: Box) -> tuple[Array, Array, Array]:
        """x, y and z of a box's voxels in mm, shaped to broadcast."""
        z, y, x = (
            np.arange(s.start, s.stop, dtype=np.float32) * np.float32(step)
            for s, step in zip(box, self.spacing_mm[::-1], strict=True)
        )
        return x[None, None, :], y[None, :, None], z[:, None, None]

    def local(self, box: Box, frame: Frame) -> tuple[Array, Array, Array]:
        """u, v and w of a box's voxels in a frame."""
        offsets = [a - np.float32(c) for a, c in zip(self.axes(box), frame.center, strict=True)]
        u, v, w = (
            np.asarray(sum(np.float32(r) * o for r, o in zip(column, offsets, strict=True)))
            for column in frame.axes.T
        )
        return u, v, w


class Canvas:
    """HU and labels being painted, later shapes over earlier ones."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.width = float(np.mean(grid.spacing_mm))
        self.hu: Array = np.full(grid.shape, -1000.0, np.float32)
        self.labels: NDArray[np.uint8] = np.zeros(grid.shape, np.uint8)

    @property
    def whole(self) -> Box:
        """The box of every voxel."""
        z, y, x = self.grid.shape
        return slice(0, z), slice(0, y), slice(0, x)

    def paint(self, box: Box, distance: Array, hu: Array | float, label: int | None = None) -> None:
        """Blend ``hu`` in where ``distance`` is negative; ``label`` None leaves the labels."""
        share = coverage(distance, self.width)
        part = self.hu[box]
        part += share * (np.asarray(hu, np.float32) - part)
        if label is not None:
            self.labels[box][distance < 0] = label

    def mix(self, box: Box, share: Array, hu: float) -> None:
        """Blend ``hu`` in by ``share`` (0 to 1)."""
        part = self.hu[box]
        part += share * (np.float32(hu) - part)
