"""Vertebral bodies, discs and laminae measured in a label map: where cages, plates and hooks go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctmar.anatomy.landmarks.vertebrae import SCREW_LEVELS, Vertebra
from ctmar.vectors import FloatArray, unit

RANGE_MM = 30.0
"""Farther to the front or back of its middle no vertebral body reaches."""
HALF_HEIGHT_MM, HALF_WIDTH_MM, LEAST_MM = 20.0, 32.0, 8.0
"""Beyond the first two from its middle no body reaches up or sideways; less than the third is a fragment."""


@dataclass(frozen=True)
class Place:
    """A block of anatomy in a frame of its own.

    Attributes:
        name: "L4", or "L4/5" for a disc.
        center_mm: Its centre (x, y, z).
        axes: Rows left, back, up: orthonormal.
        size_mm: Width, depth and height along them.
    """

    name: str
    center_mm: FloatArray
    axes: FloatArray
    size_mm: FloatArray

    def point(self, left: float = 0.0, back: float = 0.0, up: float = 0.0) -> FloatArray:
        """A point given in mm along the place's axes from its centre."""
        return self.center_mm + np.array([left, back, up]) @ self.axes


def vertebral_body(vertebra: Vertebra) -> Place | None:
    """The body of a vertebra, around its deepest bone; None where that is no body."""
    u, v, w = vertebra.axes
    deepest = np.unravel_index(int(np.argmin(vertebra.distance_mm)), vertebra.distance_mm.shape)[::-1]
    center = (np.asarray(deepest) + np.asarray(vertebra.corner)) * np.asarray(vertebra.spacing_mm)
    ahead = _bone_along(vertebra, center, -v, 0.0, RANGE_MM)
    if ahead is None or vertebra.to_local(center)[1] > 0:
        return None
    behind = min(vertebra.reach_mm(center, v), RANGE_MM)
    center = center - (ahead[1] - behind) / 2 * v
    size = [0.0, ahead[1] + behind, 0.0]
    for axis, direction, limit in ((2, w, HALF_HEIGHT_MM), (0, u, HALF_WIDTH_MM)):
        span = _bone_along(vertebra, center, direction, -limit, limit)
        if span is None:
            return None
        size[axis] = span[1] - span[0]
        center = center + (span[0] + span[1]) / 2 * direction
    return Place(vertebra.level, center, vertebra.axes, np.array(size)) if min(size) > LEAST_MM else None


def _bone_along(
    vertebra: Vertebra, start: FloatArray, direction: FloatArray, low: float, high: float
) -> tuple[float, float] | None:
    """First and last bone on a line, in mm from its start; holes on the way do not count."""
    steps = np.arange(low, high, 0.5)
    found = np.flatnonzero(vertebra.signed_distance(start + steps[:, None] * direction) < 0)
    return (float(steps[found[0]]), float(steps[found[-1]])) if len(found) else None


def discs(vertebrae: Sequence[Vertebra]) -> tuple[Place, ...]:
    """The discs between neighbouring vertebrae of the label map, from below."""
    order = list(SCREW_LEVELS.values())
    bodies = {b.name: b for b in map(vertebral_body, vertebrae) if b is not None}
    found = []
    for lower, upper in zip(order, order[1:], strict=False):
        if lower not in bodies or upper not in bodies:
            continue
        below, above = bodies[lower], bodies[upper]
        top, bottom = below.point(up=below.size_mm[2] / 2), above.point(up=-above.size_mm[2] / 2)
        back = unit(below.axes[1] + above.axes[1])
        up = below.axes[2] + above.axes[2]
        up = unit(up - (up @ back) * back)
        axes = np.stack([np.cross(back, up), back, up])
        height = float(np.clip((bottom - top) @ up, 5.0, 14.0))
        size = np.array([*np.minimum(below.size_mm, above.size_mm)[:2], height])
        found.append(Place(f"{upper}/{lower}", (top + bottom) / 2, axes, size))
    return tuple(found)
