"""More solids as signed distances: blocks, and solids with others cut away."""

from dataclasses import dataclass

import numpy as np

from ctmar.errors import CtmarError
from ctmar.implants.shapes import Shape, positive
from ctmar.vectors import FloatArray, Vector, unit

Axes = tuple[Vector, Vector, Vector]
UPRIGHT: Axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Box:
    """A block with rounded edges; exact.

    Attributes:
        center_mm: Its centre.
        size_mm: Edges along its own axes.
        axes: Directions of its edges: orthonormal rows.
        rounding_mm: Radius of the edges; at most half the shortest edge.
    """

    center_mm: Vector
    size_mm: Vector
    axes: Axes = UPRIGHT
    rounding_mm: float = 0.0

    def __post_init__(self) -> None:
        for size in self.size_mm:
            positive("size_mm", size)
        if not 0 <= self.rounding_mm <= min(self.size_mm) / 2:
            raise CtmarError(
                f"rounding_mm must lie in [0, {min(self.size_mm) / 2:g}], got {self.rounding_mm!r}"
            )

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        local = (points_mm - np.asarray(self.center_mm)) @ np.asarray(self.axes).T
        excess = np.abs(local) - np.asarray(self.size_mm) / 2 + self.rounding_mm
        outside = np.linalg.norm(np.maximum(excess, 0.0), axis=-1)
        return outside + np.minimum(excess.max(axis=-1), 0.0) - self.rounding_mm

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        center, reach = np.asarray(self.center_mm), np.asarray(self.size_mm) / 2 @ np.abs(self.axes)
        return center - reach, center + reach


@dataclass(frozen=True)
class Difference:
    """A solid without what others take of it; exact at the surfaces."""

    solid: Shape
    cuts: tuple[Shape, ...]

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        taken = [-cut.signed_distance(points_mm) for cut in self.cuts]
        return np.maximum.reduce([self.solid.signed_distance(points_mm), *taken])

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        return self.solid.bounds_mm()


@dataclass(frozen=True)
class HalfSpace:
    """Everything on the side of a plane that its normal points away from; exact."""

    point_mm: Vector
    normal: Vector

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the plane, negative on the solid's side."""
        return (points_mm - np.asarray(self.point_mm)) @ unit(self.normal)

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """The whole space."""
        return np.full(3, -np.inf), np.full(3, np.inf)
