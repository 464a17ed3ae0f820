"""Pieces of a spinal construct: threaded shaft, polyaxial tulip head, rod.

Usual sizes: rods of 4.75 to 6.35 mm, tulips of about 14 × 16 × 11 mm, threads of 2.5 mm pitch and
0.5 mm depth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from ctmar.errors import CtmarError
from ctmar.implants.shapes import Tube, axial_coordinates, frustum_distance, positive
from ctmar.vectors import FloatArray, Vector, unit, vector

ROD_DIAMETERS_MM = (4.75, 5.5, 6.0, 6.35)
THREAD_PITCH_MM, THREAD_DEPTH_MM = 2.5, 0.5
TIP_LENGTH_MM = 6.0
"""Length over which a shaft narrows to its tip."""


def frame(along: FloatArray, up: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Orthonormal (side, along, up): ``along`` kept, ``up`` turned until it is perpendicular to it."""
    along = unit(along)
    up = unit(up - (up @ along) * along)
    return np.cross(along, up), along, up


@dataclass(frozen=True)
class ScrewShaft:
    """A threaded shaft: a core, a triangular helical thread, a conical tip; first order at the flanks.

    Attributes:
        start_mm: Centre of the flat end.
        direction: From the flat end to the tip.
        length_mm: From the flat end to the tip.
        diameter_mm: Over the thread's crests.
        pitch_mm: Advance of the thread in one turn.
        depth_mm: From crest to root.
        core_taper: Share by which the root narrows towards the tip, in [0, 0.6]; 0 is a cylinder.
        bore_mm: Diameter of a cannulation along the axis; 0 for none.
    """

    start_mm: Vector
    direction: Vector
    length_mm: float
    diameter_mm: float
    pitch_mm: float = THREAD_PITCH_MM
    depth_mm: float = THREAD_DEPTH_MM
    core_taper: float = 0.0
    bore_mm: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.core_taper <= 0.6:
            raise CtmarError(f"core_taper must lie in [0, 0.6], got {self.core_taper!r}")
        if not 0 <= self.bore_mm < 0.4 * self.diameter_mm:
            raise CtmarError(f"bore_mm must lie in [0, {0.4 * self.diameter_mm:g}), got {self.bore_mm!r}")
        for name in ("length_mm", "diameter_mm", "pitch_mm", "depth_mm"):
            positive(name, getattr(self, name))
        if self.diameter_mm <= 2.5 * self.depth_mm:
            raise CtmarError(
                f"diameter_mm must exceed 2.5 × depth_mm, got {self.diameter_mm} and {self.depth_mm}"
            )

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        axis = unit(self.direction)
        along, radial = axial_coordinates(points_mm, self.start_mm, axis)
        height = self._thread_height(points_mm, along, axis)
        crest = frustum_distance(along, radial, self.length_mm, self.diameter_mm / 2, self.diameter_mm / 2)
        taper = np.clip((along - self.length_mm + TIP_LENGTH_MM) / TIP_LENGTH_MM, 0.0, 1.0)
        # The crests keep their diameter: where the root is thinner the thread is deeper.
        root = (self.diameter_mm / 2 - self.depth_mm) * (
            1 - self.core_taper * np.clip(along / self.length_mm, 0.0, 1.0)
        )
        depth = self.diameter_mm / 2 - root
        surface = (root + height / self.depth_mm * depth) * (1 - 0.75 * taper)
        flank = depth / (self.pitch_mm / 2)
        cone = 0.75 * self.diameter_mm / 2 / TIP_LENGTH_MM * (taper > 0)
        solid = np.maximum(crest, (radial - surface) / np.sqrt(1 + np.maximum(flank, cone) ** 2))
        return np.maximum(solid, self.bore_mm / 2 - radial) if self.bore_mm else solid

    def _thread_height(self, points_mm: FloatArray, along: FloatArray, axis: FloatArray) -> FloatArray:
        """Height over the root in [0, depth]: a triangle wave that turns once a pitch."""
        helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
        side, _, up = frame(axis, helper)
        offset = points_mm - np.asarray(self.start_mm)
        phase = along / self.pitch_mm - np.arctan2(offset @ up, offset @ side) / (2 * math.pi)
        return self.depth_mm * np.abs(2 * (phase - np.floor(phase)) - 1)

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        start = np.asarray(self.start_mm)
        axis = unit(self.direction)
        ends = np.stack([start, start + axis * self.length_mm])
        reach = self.diameter_mm / 2 * np.sqrt(np.maximum(0.0, 1 - axis**2))
        return ends.min(axis=0) - reach, ends.max(axis=0) + reach


@dataclass(frozen=True)
class Tulip:
    """The head of a polyaxial screw: a rounded block with a U-shaped slot that the rod lies in.

    Attributes:
        rod_center_mm: Where the rod's axis passes.
        along: Direction of the rod.
        up: Direction in which the slot opens; only its part perpendicular to ``along`` counts.
        slot_mm: Width of the slot.
        size_mm: Size across the rod, along it and upwards.
        seat_mm: From the block's base to the rod's axis.
        rounding_mm: Radius of its edges.
    """

    rod_center_mm: Vector
    along: Vector
    up: Vector
    slot_mm: float = 5.7
    size_mm: Vector = (14.0, 11.0, 16.0)
    seat_mm: float = 8.5
    rounding_mm: float = 2.0

    def __post_init__(self) -> None:
        positive("slot_mm", self.slot_mm)
        if self.slot_mm >= self.size_mm[0]:
            raise CtmarError(
                f"slot_mm must be below the head's width of {self.size_mm[0]} mm, got {self.slot_mm}"
            )

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside; shape ``(...)``."""
        local = (points_mm - np.asarray(self.rod_center_mm)) @ self._axes().T
        half = np.asarray(self.size_mm) / 2
        middle = np.array([0.0, 0.0, half[2] - self.seat_mm])
        excess = np.abs(local - middle) - half + self.rounding_mm
        outside = np.linalg.norm(np.maximum(excess, 0.0), axis=-1)
        block = outside + np.minimum(excess.max(axis=-1), 0.0) - self.rounding_mm
        slot = np.hypot(local[..., 0], np.minimum(local[..., 2], 0.0)) - self.slot_mm / 2
        return np.maximum(block, -slot)

    def _axes(self) -> FloatArray:
        return np.stack(frame(np.asarray(self.along), np.asarray(self.up)))

    def bounds_mm(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest corner ``(3,)`` in mm of a box that holds the solid."""
        half = np.asarray(self.size_mm) / 2
        axes = self._axes()
        middle = np.asarray(self.rod_center_mm) + axes[2] * (half[2] - self.seat_mm)
        reach = half @ np.abs(axes)
        return middle - reach, middle + reach


def spline_rod(centers_mm: Sequence[Sequence[float]], diameter_mm: float, overhang_mm: float) -> Tube:
    """A rod bent as a natural cubic spline through ``centers_mm``, going on straight beyond both ends.

    Args:
        centers_mm: Two or more points (x, y, z) in mm, in order along the rod.
        diameter_mm: Of the rod.
        overhang_mm: How far it goes beyond the first and last point.
    """
    centers = np.asarray(centers_mm, dtype=float)
    if centers.ndim != 2 or centers.shape[0] < 2 or centers.shape[1] != 3:
        raise CtmarError(
            f"a rod must pass through 2 or more points (x, y, z), got an array of {centers.shape}"
        )
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    spline = CubicSpline(np.concatenate([[0.0], np.cumsum(steps)]), centers, bc_type="natural")
    total = float(steps.sum())
    inner = spline(np.linspace(0.0, total, max(2, math.ceil(total / 4.0) + 1)))
    first = inner[0] - unit(spline(0.0, 1)) * overhang_mm
    last = inner[-1] + unit(spline(total, 1)) * overhang_mm
    points = np.concatenate([[first], inner, [last]]) if overhang_mm > 0 else inner
    return Tube(tuple(vector(point) for point in points), diameter_mm / 2)
