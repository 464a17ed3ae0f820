"""Solid shapes as signed distances: negative inside, positive outside, in mm of the anatomy's frame.

Points are ``(..., 3)`` arrays in the order (x, y, z) mm. A distance has to be right near the surface, where
it becomes the part of a voxel that is filled; farther away it may fall short, never overshoot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ctmar.errors import CtmarError
from ctmar.vectors import FloatArray, Vector, unit


class Shape(Protocol):
    """A solid in space."""

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        ...

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        ...


@dataclass(frozen=True)
class Part:
    """One piece of metal.

    Attributes:
        name: What reports call it ("T11 left screw").
        material: A name that the scanner knows: one of :data:`ctmar.physics.MATERIALS` or of the user's own.
        shape: The solid, in mm of the anatomy's frame.
        fill: Share of its volume that is metal: below 1 for a porous piece.
    """

    name: str
    material: str
    shape: Shape
    fill: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.material, str) or not self.material:
            raise CtmarError(f"material must be the name of one, got {self.material!r}")
        if not 0 < self.fill <= 1:
            raise CtmarError(f"fill must lie in (0, 1], got {self.fill!r}")


def positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a positive finite number."""
    if not (math.isfinite(value) and value > 0):
        raise CtmarError(f"{name} must be positive, got {value!r}")


def axial_coordinates(
    points_mm: FloatArray, origin: ArrayLike, axis: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Distance along a unit ``axis`` from ``origin``, and distance from the axis; both ``(...)`` in mm."""
    offset = points_mm - np.asarray(origin)
    along = offset @ axis
    squared = np.einsum("...i,...i->...", offset, offset) - along * along
    return along, np.sqrt(np.maximum(squared, 0.0))


def _box_of_discs(
    centers: ArrayLike, axis: FloatArray, radii: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Box of discs of the given radii, all perpendicular to ``axis``."""
    reach = np.asarray(radii)[:, None] * np.sqrt(np.maximum(0.0, 1 - axis**2))
    points = np.asarray(centers, dtype=float)
    return (points - reach).min(axis=0), (points + reach).max(axis=0)


@dataclass(frozen=True)
class Sphere:
    """A ball; exact."""

    center_mm: Vector
    radius_mm: float

    def __post_init__(self) -> None:
        positive("radius_mm", self.radius_mm)

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        return np.linalg.norm(points_mm - np.asarray(self.center_mm), axis=-1) - self.radius_mm

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        center = np.asarray(self.center_mm)
        return center - self.radius_mm, center + self.radius_mm


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid at any pose.

    Attributes:
        center_mm: Centre.
        radii_mm: Half axes.
        axes: Directions of the half axes: orthonormal rows.
    """

    center_mm: Vector
    radii_mm: Vector
    axes: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def __post_init__(self) -> None:
        for radius in self.radii_mm:
            positive("radii_mm", radius)

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """First order: the implicit value over its gradient; right at the surface."""
        radii = np.asarray(self.radii_mm)
        local = (points_mm - np.asarray(self.center_mm)) @ np.asarray(self.axes).T
        value = np.linalg.norm(local / radii, axis=-1)
        slope = np.linalg.norm(local / radii**2, axis=-1)
        distance = value * (value - 1.0) / np.maximum(slope, 1e-12)
        return np.where(value < 1e-6, -float(radii.min()), distance)

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        center = np.asarray(self.center_mm)
        reach = np.sqrt(((np.asarray(self.axes) * np.asarray(self.radii_mm)[:, None]) ** 2).sum(axis=0))
        return center - reach, center + reach


@dataclass(frozen=True)
class Cylinder:
    """A capped cylinder, or a cone's frustum where ``end_radius_mm`` differs; exact.

    Attributes:
        start_mm: Centre of the first cap.
        end_mm: Centre of the second cap.
        radius_mm: Radius at the start.
        end_radius_mm: Radius at the end; the start's where it is not given.
    """

    start_mm: Vector
    end_mm: Vector
    radius_mm: float
    end_radius_mm: float | None = None

    def __post_init__(self) -> None:
        positive("radius_mm", self.radius_mm)
        positive("end_radius_mm", self._end_radius)
        unit(np.subtract(self.end_mm, self.start_mm))

    @property
    def _end_radius(self) -> float:
        return self.radius_mm if self.end_radius_mm is None else self.end_radius_mm

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        span = np.subtract(self.end_mm, self.start_mm)
        length = float(np.linalg.norm(span))
        along, radial = axial_coordinates(points_mm, self.start_mm, span / length)
        return frustum_distance(along, radial, length, self.radius_mm, self._end_radius)

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        axis = unit(np.subtract(self.end_mm, self.start_mm))
        return _box_of_discs([self.start_mm, self.end_mm], axis, [self.radius_mm, self._end_radius])


def frustum_distance(
    along: FloatArray, radial: FloatArray, length: float, start_radius: float, end_radius: float
) -> FloatArray:
    """Signed distance to a frustum in axial coordinates (mm), from ``along`` 0 to ``length``."""
    cap_radius = np.where(along < length / 2, start_radius, end_radius)
    cap_r = np.maximum(radial - cap_radius, 0.0)
    cap_a = np.abs(along - length / 2) - length / 2
    slope = end_radius - start_radius
    squared = length * length + slope * slope
    t = np.clip((along * length + (radial - start_radius) * slope) / squared, 0.0, 1.0)
    side_r, side_a = radial - (start_radius + t * slope), along - t * length
    nearest = np.sqrt(np.minimum(cap_r**2 + cap_a**2, side_r**2 + side_a**2))
    inside = (cap_a < 0) & (side_r < 0)
    return np.where(inside, -nearest, nearest)


@dataclass(frozen=True)
class Tube:
    """A round bar along a polyline, with round ends: a rod, or a capsule where there are two points; exact.

    Attributes:
        points_mm: The polyline.
        radius_mm: Radius of the bar.
    """

    points_mm: tuple[Vector, ...]
    radius_mm: float

    def __post_init__(self) -> None:
        positive("radius_mm", self.radius_mm)
        if len(self.points_mm) < 2:
            raise CtmarError(f"a rod must have at least 2 points, got {len(self.points_mm)}")

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        vertices = np.asarray(self.points_mm)
        nearest = np.full(points_mm.shape[:-1], np.inf)
        for start, end in pairwise(vertices):
            np.minimum(nearest, _squared_distance_to_segment(points_mm, start, end), out=nearest)
        return np.sqrt(nearest) - self.radius_mm

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        vertices = np.asarray(self.points_mm)
        return vertices.min(axis=0) - self.radius_mm, vertices.max(axis=0) + self.radius_mm


def _squared_distance_to_segment(points: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    span = end - start
    offset = points - start
    t = np.clip((offset @ span) / max(float(span @ span), 1e-12), 0.0, 1.0)
    rest = offset - t[..., None] * span
    return np.einsum("...i,...i->...", rest, rest)


@dataclass(frozen=True)
class Union:
    """Several solids as one; exact outside."""

    shapes: tuple[Shape, ...]

    def __post_init__(self) -> None:
        if not self.shapes:
            raise CtmarError("a union must hold at least 1 shape, got 0")

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        return np.minimum.reduce([shape.signed_distance(points_mm) for shape in self.shapes])

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        boxes = [shape.bounds_mm() for shape in self.shapes]
        return np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
