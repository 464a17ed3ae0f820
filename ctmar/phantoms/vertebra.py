"""One vertebra as a signed distance: body, pedicles, arch, facets and processes joined smoothly.

The local frame has its origin in the middle of the body, u to the left, v to the back, w up.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctmar.phantoms.implicit import FAR, Array, Box, Frame, Grid, Point, capsule, smooth_max, smooth_min
from ctmar.phantoms.morphometry import VertebraSize

FILLET_MM = 3.0
CONCAVITY_MM = 1.3
"""Depth of the endplates' dish."""
WAIST = 0.09
"""How much narrower the body is half-way up than at the endplates."""
ISTHMUS_BACK_MM = 4.0
"""The pedicle's narrowest place, behind the body's posterior wall."""


class TruePedicle(NamedTuple):
    """True axis of a pedicle as it was built, in the volume's own frame (x, y, z)."""

    isthmus_mm: tuple[float, float, float]
    """Centre of its narrowest cross-section."""
    direction: tuple[float, float, float]
    """Unit vector from the back into the body."""
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class VertebraField:
    """A vertebra's distance in a box of the grid, and that of its body alone."""

    box: Box
    distance: Array
    body: Array


def body_outline(u: Array, v: Array, size: VertebraSize, growth: Array | float = 1.0) -> Array:
    """Distance to the body's axial outline: an ellipse, its back flattened for the canal."""
    a = np.float32(size.body_width / 2) * growth
    b = np.float32(size.body_depth / 2) * growth
    q = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    q = np.maximum(q, np.float32(1e-3))
    ring = np.hypot(u, v) * (1 - 1 / q)
    # The flat back stands at 0.86 of the half-depth, so the ellipse is shifted by what it loses there.
    return smooth_max(ring, v - b * np.float32(0.86) + np.float32(1.5) * (1 - np.abs(u / a)), 4.0)


def posterior_wall(size: VertebraSize) -> float:
    """V of the body's posterior wall in the midline, mm."""
    return size.body_depth / 2 * 0.86 - 1.5


def pedicle_axis(size: VertebraSize, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Isthmus and direction (unit, into the body) in the local frame; ``side`` +1 left, -1 right."""
    medial, caudal = math.radians(size.medial_deg), math.radians(size.caudal_deg)
    u = side * (size.canal_width / 2 + size.pedicle_width / 2)
    w = size.body_height / 2 - size.pedicle_height / 2 - 0.5
    isthmus = np.array([u, posterior_wall(size) + ISTHMUS_BACK_MM, max(w, 0.0)])
    forward = np.array([-side * math.sin(medial), -math.cos(medial), 0.0]) * math.cos(caudal)
    return isthmus, forward - np.array([0.0, 0.0, math.sin(caudal)])


def pedicle(size: VertebraSize, frame: Frame, side: int) -> TruePedicle:
    """The pedicle's true axis in the volume's own frame."""
    isthmus, direction = pedicle_axis(size, side)
    place, course = frame.point(*isthmus), frame.axes @ direction
    return TruePedicle(
        (float(place[0]), float(place[1]), float(place[2])),
        (float(course[0]), float(course[1]), float(course[2])),
        size.pedicle_width,
        size.pedicle_height,
    )


class _Part(NamedTuple):
    start: Point
    end: Point
    radii: tuple[float, float]
    stretch: float


def _pedicle_parts(size: VertebraSize, side: int) -> list[_Part]:
    isthmus, direction = pedicle_axis(size, side)
    r, stretch = size.pedicle_width / 2, size.pedicle_height / size.pedicle_width
    into, back = isthmus + direction * 13.0, isthmus - direction * 9.0
    return [
        _Part(isthmus, into, (r, r * 1.3), stretch),
        _Part(isthmus, back, (r, max(r * 1.1, 4.0)), stretch),
    ]


def _arch_parts(size: VertebraSize, side: int) -> list[_Part]:
    """Lamina, facets and transverse process of one side."""
    wall, half, height = posterior_wall(size), size.canal_width / 2, size.body_height / 2
    roof = wall + size.canal_depth
    corner = (side * (half + 3.5), wall + 10.5, 1.0)
    tip = side * (size.transverse_span / 2 - 4.0)
    lift, back = (3.0, 15.0) if size.thoracic else (1.0, 4.0)
    near, far = (half - 1.0, half + 1.0) if size.thoracic else (half + 4.5, half + 6.5)
    # Superior and inferior facets would overlap their neighbours': the joint's gap is cut between them.
    big = 4.4 if size.thoracic else 5.4
    return [
        _Part((side * (half + 2.5), wall + 11.0, -0.5), (side * 1.0, roof + 2.5, -3.0), (3.7, 4.0), 2.4),
        _Part(corner, (side * far, wall + 8.5, height + 6.0), (4.4, big), 1.3),
        _Part(corner, (side * (near - 4.5), roof + 1.0, -height - 7.0), (4.6, big), 1.3),
        _Part((side * (half + 4.0), wall + 9.0, 1.0), (tip, wall + 8.0 + back, lift), (3.8, 3.4), 1.6),
    ]


def _spinous_parts(size: VertebraSize) -> list[_Part]:
    roof, slope = posterior_wall(size) + size.canal_depth, math.radians(size.spinous_deg)
    start = np.array([0.0, roof + 3.0, -6.0])
    end = start + size.spinous_length * np.array([0.0, math.cos(slope), -math.sin(slope)])
    tall = 1.8 if size.spinous_deg > 15 else 2.9
    return [_Part(start, end, (2.6, 2.8), tall), _Part(end - (0.0, 3.0, 0.0), end, (3.2, 3.6), tall * 0.8)]


def vertebra_field(grid: Grid, frame: Frame, size: VertebraSize, canal: Array) -> VertebraField:
    """The whole vertebra, hollowed by the canal.

    Args:
        grid: Of the volume.
        frame: Of the vertebra.
        size: Of the vertebra.
        canal: Distance to the spinal canal on the whole grid.
    """
    parts = [p for side in (-1, 1) for p in _pedicle_parts(size, side) + _arch_parts(size, side)]
    parts += _spinous_parts(size)
    half = (size.body_width / 2, size.body_depth / 2, size.body_height / 2 + 2)
    corners = [
        frame.point(i * half[0], j * half[1], k * half[2]) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)
    ]
    ends = [frame.point(*p.start) for p in parts] + [frame.point(*p.end) for p in parts]
    box = grid.around(corners + ends, 11.0)
    u, v, w = grid.local(box, frame)
    body = _body_distance(u, v, w, size)
    posterior = np.full(body.shape, FAR, np.float32)
    for part in parts:
        _join(posterior, part, grid, frame, box, (u, v, w))
    distance = smooth_min(body, posterior, FILLET_MM)
    return VertebraField(box, smooth_max(distance, -canal[box], 1.0), body)


def _body_distance(u: Array, v: Array, w: Array, size: VertebraSize) -> Array:
    half = np.float32(size.body_height / 2)
    level = np.clip(w / half, -1, 1) ** 2
    side = body_outline(u, v, size, 1 - np.float32(WAIST) * (1 - level))
    dish = np.clip(1 - (2 * u / size.body_width) ** 2 - (2 * v / size.body_depth) ** 2, 0, 1)
    return smooth_max(side, np.abs(w) - half + np.float32(CONCAVITY_MM) * dish, 3.0)


def _join(total: Array, part: _Part, grid: Grid, frame: Frame, box: Box, points: tuple[Array, ...]) -> None:
    """Unite a part into ``total`` where it can matter: within its own box and a margin."""
    reach = max(part.radii) * max(part.stretch, 1.0) + FILLET_MM + 3.0
    small = grid.around([frame.point(*part.start), frame.point(*part.end)], reach)
    inner = tuple(
        slice(min(max(s.start, b.start), b.stop) - b.start, max(min(s.stop, b.stop), b.start) - b.start)
        for s, b in zip(small, box, strict=True)
    )
    own = capsule([p[inner] for p in points], part.start, part.end, part.radii, part.stretch)
    # A plain minimum: a fillet between the two halves of a pedicle would thicken its isthmus.
    total[inner] = np.minimum(total[inner], own)
