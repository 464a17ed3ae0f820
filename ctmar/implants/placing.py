"""Screws in pedicles: as long and thick as the rules allow, out of the canal."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy.landmarks import Anchor, Canal, Pedicle, Vertebra
from ctmar.anatomy.landmarks.anchors import COURSES, WALL_MM
from ctmar.implants.plan import ScrewPlan
from ctmar.implants.rules import (
    LENGTHS_MM,
    MAX_PROUD_MM,
    MAX_SUNK_MM,
    SCREW_STEP_MM,
    SHORTER_SHARE,
    SMALLEST_SCREW_MM,
    THINNER_SHARE,
    screw_diameter_mm,
    screw_length_mm,
)
from ctmar.vectors import FloatArray, Vector, unit, vector

NECK_MM = 6.0
"""Before and behind the isthmus, where a breach is measured: beyond, the bone is wider on every side."""
GRADE_A_MM = 0.25
"""Less than this outside is a voxel's edge and no breach."""


def sample_screw(
    pedicle: Pedicle,
    rng: np.random.Generator,
    canal: Canal | None,
    bone: Vertebra | None,
    *,
    material: str,
    jitter: tuple[float, float],
) -> ScrewPlan | None:
    """A screw whose jitter (rad, mm) shrinks, then its diameter, until the canal is free; or None."""
    turn, shift = jitter[0] * rng.standard_normal(2), jitter[1] * rng.standard_normal(2)
    thinner, shorter = rng.random() < THINNER_SHARE, rng.random() < SHORTER_SHARE
    return _fitted(pedicle, canal, bone, material, turn, shift, bool(thinner), bool(shorter))


def fit_screw(
    pedicle: Pedicle, canal: Canal | None, bone: Vertebra | None, *, material: str
) -> ScrewPlan | None:
    """The largest screw by the rules on the pedicle's own axis, out of the canal; or None."""
    still = np.zeros(2)
    return _fitted(pedicle, canal, bone, material, still, still, False, False)


def _fitted(
    pedicle: Pedicle,
    canal: Canal | None,
    bone: Vertebra | None,
    material: str,
    turn: NDArray[np.float64],
    shift: NDArray[np.float64],
    thinner: bool,
    shorter: bool,
) -> ScrewPlan | None:
    largest = screw_diameter_mm(pedicle.width_mm)
    if largest is None:
        return None
    diameter = max(SMALLEST_SCREW_MM, largest - SCREW_STEP_MM * thinner)
    thinner_ones = np.arange(diameter - SCREW_STEP_MM, SMALLEST_SCREW_MM - 0.01, -SCREW_STEP_MM)
    for scale, size in [
        (1.0, diameter),
        (0.5, diameter),
        (0.0, diameter),
        *((0.0, float(d)) for d in thinner_ones),
    ]:
        entry, direction = _jittered(pedicle, scale * turn, scale * shift)
        length = screw_length_mm(_depth_mm(pedicle, bone, entry, direction))
        if length is None:
            continue
        length = max(float(LENGTHS_MM[0]), length - 5.0 * shorter)
        screw = ScrewPlan(pedicle.level, pedicle.side, entry, direction, size, length, material)
        if canal is None or not canal.contains(surface_mm(screw)).any():
            return screw
    return None


def anchor_screw(anchor: Anchor, material: str) -> ScrewPlan:
    """The thickest standard screw that leaves a wall in the corridor, the thinnest where none does."""
    sizes = COURSES[anchor.kind].diameters_mm
    fitting = [size for size in sizes if size / 2 + WALL_MM <= anchor.radius_mm] or sizes[:1]
    return ScrewPlan(
        anchor.kind,
        anchor.side,
        anchor.entry_mm,
        anchor.direction,
        fitting[-1],
        anchor.length_mm,
        material,
    )


def breach_mm(screw: ScrewPlan, pedicle: Pedicle, bone: Vertebra) -> float:
    """How far the shaft's surface leaves the bone within ``NECK_MM`` of the isthmus; 0 where it does not."""
    points = surface_mm(screw)
    along = (points - np.asarray(pedicle.isthmus_mm)) @ np.asarray(pedicle.direction)
    return max(0.0, float(bone.signed_distance(points[np.abs(along) <= NECK_MM]).max(initial=0.0)))


def grade(breach: float) -> str:
    """Gertzbein-Robbins grade of a breach in mm: A none, B below 2, C below 4, D below 6, E beyond."""
    return "A" if breach <= GRADE_A_MM else "BCDE"[int(np.searchsorted([2.0, 4.0, 6.0], breach, "right"))]


def misplaced(
    screw: ScrewPlan, pedicle: Pedicle, bone: Vertebra, wanted: str, outwards: bool
) -> ScrewPlan | None:
    """The screw moved sideways, out of the bone or into the canal, until it has the grade; None if never."""
    left = 1.0 if screw.side == "left" else -1.0
    side = vector(bone.axes[0] * (left if outwards else -left))
    for shift in np.arange(0.25, 16.0, 0.25):
        moved = replace(screw, entry_mm=vector(np.asarray(screw.entry_mm) + shift * np.asarray(side)))
        if grade(breach_mm(moved, pedicle, bone)) == wanted:
            return moved
    return None


def _depth_mm(pedicle: Pedicle, bone: Vertebra | None, entry_mm: Vector, direction: Vector) -> float:
    """From the entry to the anterior cortex, on the screw's own line where there is bone to ask."""
    if bone is None:
        return pedicle.depth_mm
    axis = np.asarray(direction)
    start = float((np.asarray(pedicle.isthmus_mm) - np.asarray(entry_mm)) @ axis)
    return start + bone.reach_mm(np.asarray(entry_mm) + start * axis, axis, lasting_mm=0.5)


def with_heads_in_line(screws: Sequence[ScrewPlan]) -> tuple[ScrewPlan, ...]:
    """Heads raised or sunk along their screws, towards a straight line in the side view: rods bend gently."""
    adjusted = []
    for screw in screws:
        heads = np.array([other.rod_center_mm for other in screws if other.side == screw.side])
        if len(heads) >= 3:
            y = np.polyval(np.polyfit(heads[:, 2], heads[:, 1], 1), screw.rod_center_mm[2])
            raised = (y - screw.rod_center_mm[1]) / max(-screw.direction[1], 0.5)
            proud = float(np.clip(raised, -MAX_SUNK_MM, MAX_PROUD_MM))
            adjusted.append(replace(screw, proud_mm=proud))
        else:
            adjusted.append(screw)
    return tuple(adjusted)


def _jittered(
    pedicle: Pedicle, turn: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[Vector, Vector]:
    """Entry and direction: turned about the isthmus (the wall that matters stays clear), then shifted."""
    axis = np.asarray(pedicle.direction)
    side = unit(np.cross(axis, [0.0, 0.0, 1.0]))
    up = np.cross(side, axis)
    direction = unit(axis + np.tan(turn[0]) * side + np.tan(turn[1]) * up)
    isthmus = np.asarray(pedicle.isthmus_mm)
    back = float(np.linalg.norm(isthmus - np.asarray(pedicle.entry_mm)))
    return vector(isthmus - back * direction + shift[0] * side + shift[1] * up), vector(direction)


def surface_mm(screw: ScrewPlan) -> FloatArray:
    """Points (n, 3) on a screw's axis and surface, 1 mm apart along it."""
    axis = np.asarray(screw.direction)
    side = unit(np.cross(axis, [0.0, 0.0, 1.0]))
    angles = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)[:, None]
    ring = (np.cos(angles) * side + np.sin(angles) * np.cross(side, axis)) * screw.diameter_mm / 2
    spokes = np.concatenate([np.zeros((1, 3)), 0.5 * ring, ring])
    along = np.arange(0.0, screw.length_mm + 0.5, 1.0)[:, None, None] * axis
    return (np.asarray(screw.entry_mm) + along + spokes).reshape(-1, 3)
