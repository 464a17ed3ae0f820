"""Pedicles from a label map: where each is narrowest, how wide it is there, and the axis a screw follows.

The way is the usual one for label maps: walk slices from the body backwards, follow each side's
component; the *isthmus* is the smallest area. The slices are cut in each vertebra's own frame
(``ctmar.anatomy.landmarks.vertebrae``), interpolated between the scan's slices, so that a tilted vertebra and
slices of 3 mm serve. They stand across the level's published axis first, and once the direction is
known across that: coronal slices run along the pedicle and the transverse process of L5.

The slices of at most 1.25 times the isthmus's area give the axis its place. The line through their
centroids does not give a usable direction: they span about 4 mm, and on scans of 2.5 to 3 mm slices the
line swings by 20° from side to side. The direction is the one that stays deepest inside the bone, by the
distance transform, drawn towards the published angles of the level (docs/implants.md has what each of
the two does alone).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.landmarks.canal import find_canal
from ctmar.anatomy.landmarks.vertebrae import Vertebra, find_vertebrae
from ctmar.vectors import FloatArray, Vector, unit, vector

STEP_MM = 0.75
"""Grid of the slices, and their distance."""
MIN_AREA_MM2, MIN_OFFSET_MM, MAX_OFFSET_MM, MAX_JUMP_MM, AREA_RATIO = 20.0, 3.0, 40.0, 4.0, 1.25
"""Component area, lateral offset, centroid jump and area limits of the walk."""
MAX_BREADTH_MM = 18.0
"""From a component's medial edge outwards: cuts off transverse processes; pedicles reach 15 mm (L5)."""
PIVOT_MM = (16.0, -3.0, 0.0)
"""About where a pedicle lies (outwards, back, up) from the canal's centre: the slices turn about it."""
WALK_MM = (13.0, -10.0)
"""The walk along the axis from the pivot: from well inside the body to the back of the canal."""
NEAR_MM = 6.0
"""How far from the first isthmus, along the axis, the second is looked for."""
MEDIAL_DEG = {
    "C7": 40,
    "T1": 30,
    "T2": 25,
    "T3": 20,
    "T4": 16,
    "T5": 13,
    "T6": 11,
    "T7": 10,
    "T8": 9,
    "T9": 8,
    "T10": 6,
    "T11": 3,
    "T12": 3,
    "L1": 8,
    "L2": 11,
    "L3": 14,
    "L4": 19,
    "L5": 27,
}
"""Published medial angle of each level, middle of its range; T2 to T10 filled in between, C7 beyond."""
CAUDAL_DEG = {
    **{f"T{n}": 17.0 for n in range(1, 12)},
    **{"C7": 17.0, "T12": 5.0, "L1": 5.0, "L2": 0.0, "L3": 0.0, "L4": 0.0, "L5": 0.0},
}
"""Published descent of each level's axis towards the body, middle of its range, from the endplates."""
ANGLE_WEIGHT, DEPTH_LIMIT_MM = 0.25, 4.0
"""Penalty in mm of depth at 10° from the published angle; depth beyond which more is no better."""
BORDER_MM = 2.0
"""Bone between the largest circle in the isthmus and the volume's first or last slice."""
MIN_BACK_MM, MIN_FRONT_MM = 5.0, 15.0
"""Bone behind and before the isthmus; with less, what was found is no pedicle."""
TUBE_MM = (-8.0, 14.0)
"""Length of the axis, from behind the isthmus to before it, that has to stay inside the bone."""


@dataclass(frozen=True)
class Pedicle:
    """One pedicle; positions in mm of the anatomy's frame, order (x, y, z).

    Attributes:
        level: "C7", "T1" … "L5".
        side: "left" or "right" of the patient.
        isthmus_mm: Centre of the narrowest section.
        direction: Unit vector along the axis, from back to front.
        entry_mm: Where the axis leaves the bone at the back.
        width_mm: Smaller diameter of the narrowest section, across the axis.
        height_mm: Its larger diameter.
        depth_mm: Along the axis from the entry to where it leaves the bone at the front.
    """

    level: str
    side: str
    isthmus_mm: Vector
    direction: Vector
    entry_mm: Vector
    width_mm: float
    height_mm: float
    depth_mm: float


@dataclass(frozen=True)
class _Line:
    """A line in a vertebra's frame and the slices across it; points (u, v, w)."""

    pivot: FloatArray
    direction: FloatArray
    """Unit vector forward."""
    outwards: FloatArray
    """Unit vector across it, away from the midline."""

    @staticmethod
    def of(pivot: FloatArray, direction: FloatArray, sign: float) -> "_Line":
        level = unit([sign * -direction[1], sign * direction[0], 0.0])
        return _Line(pivot, direction, level)

    def point(self, along: float, out: FloatArray | float, up: FloatArray | float) -> FloatArray:
        """Points ``(..., 3)`` at a distance along the line, outwards and upwards from it."""
        upwards = np.cross(self.outwards, self.direction)
        upwards = upwards if upwards[2] > 0 else -upwards
        across = np.multiply.outer(out, self.outwards) + np.multiply.outer(up, upwards)
        return self.pivot + along * self.direction + across


class _Section(NamedTuple):
    """The component of one slice across a line."""

    along_mm: float
    area_mm2: float
    width_mm: float
    """Diameter of the largest circle inside, to a third of a millimetre."""
    height_mm: float
    """Longer axis of the ellipse with the same second moments."""
    center_mm: FloatArray
    """Middle of the deepest points (outwards, upwards)."""


def find_pedicles(anatomy: Anatomy) -> tuple[Pedicle, ...]:
    """Pedicles that lie in the volume, from L5 upwards, left before right.

    Body and processes may be cut by its first or last slice, an isthmus only above or below the largest
    circle in it.

    The answer is empty where the labels hold no such vertebra.
    """
    vertebrae = find_vertebrae(anatomy, find_canal(anatomy))
    top = (len(anatomy.labels) - 1) * anatomy.spacing_mm[2]
    found = [_pedicle(vertebra, side, top) for vertebra in vertebrae for side in ("left", "right")]
    return tuple(pedicle for pedicle in found if pedicle is not None)


def _pedicle(vertebra: Vertebra, side: str, last_mm: float) -> Pedicle | None:
    sign = 1.0 if side == "left" else -1.0
    usual = _direction(MEDIAL_DEG[vertebra.level], -CAUDAL_DEG[vertebra.level], sign)
    line = _Line.of(np.array([sign * PIVOT_MM[0], *PIVOT_MM[1:]]), usual, sign)
    sections = _walk(vertebra, line)
    narrowest = _narrowest(sections)
    if narrowest is None:
        return None
    first = _center(line, sections, narrowest)
    line = _Line.of(first, _deepest_direction(vertebra, first, sign), sign)
    sections = _beside(vertebra, line)
    if not sections:
        return None
    narrowest = min(range(len(sections)), key=lambda index: sections[index].area_mm2)
    isthmus = _center(line, sections, narrowest)
    direction = _deepest_direction(vertebra, isthmus, sign)
    center, axis = vertebra.to_anatomy(isthmus), direction @ vertebra.axes
    back, front = vertebra.reach_mm(center, -axis), vertebra.reach_mm(center, axis)
    if back < MIN_BACK_MM or front < MIN_FRONT_MM:
        return None
    width, height = sections[narrowest].width_mm, sections[narrowest].height_mm
    if not width / 2 + BORDER_MM <= center[2] <= last_mm - width / 2 - BORDER_MM:
        return None
    entry = vector(center - back * axis)
    return Pedicle(
        vertebra.level, side, vector(center), vector(axis), entry, width, height, float(back + front)
    )


def _direction(medial_deg: FloatArray | float, tilt_deg: FloatArray | float, sign: float) -> FloatArray:
    """Unit vectors ``(..., 3)`` forward (u, v, w): towards the midline and upwards by two angles."""
    medial, tilt = np.broadcast_arrays(np.radians(medial_deg), np.radians(tilt_deg))
    slopes = np.stack([-sign * np.tan(medial), -np.ones_like(medial), np.tan(tilt)], axis=-1)
    return slopes / np.linalg.norm(slopes, axis=-1, keepdims=True)


def _walk(vertebra: Vertebra, line: _Line) -> list[_Section]:
    """Sections from the body backwards, up to the first slice behind them that has none."""
    sections: list[_Section] = []
    outwards = np.arange(MIN_OFFSET_MM, MAX_OFFSET_MM, STEP_MM) - PIVOT_MM[0]
    upwards = np.arange(-30.0, 30.0, STEP_MM)
    for along in np.arange(WALK_MM[0], WALK_MM[1], -STEP_MM):
        section = _section(_largest(_slice(vertebra, line, along, outwards, upwards)), outwards, upwards)
        if section is not None:
            sections.append(section._replace(along_mm=float(along)))
        elif sections:
            break
    return sections


def _beside(vertebra: Vertebra, line: _Line) -> list[_Section]:
    """Sections around the line's pivot, of the component that holds the line."""
    sections = []
    reach = np.arange(-15.0, 15.1, STEP_MM)
    for along in np.arange(-NEAR_MM, NEAR_MM + 0.1, STEP_MM / 2):
        parts, _ = ndimage.label(_slice(vertebra, line, along, reach, reach))
        here = parts[len(reach) // 2, len(reach) // 2]
        section = _section(parts == here, reach, reach) if here else None
        if section is not None:
            sections.append(section._replace(along_mm=float(along)))
    return sections


def _slice(
    vertebra: Vertebra, line: _Line, along: float, outwards: FloatArray, upwards: FloatArray
) -> NDArray[np.bool_]:
    """Bone in the slice across the line, ``(upwards, outwards)``."""
    up, out = np.meshgrid(upwards, outwards, indexing="ij")
    return vertebra.signed_distance(vertebra.to_anatomy(line.point(along, out, up))) < 0


def _section(
    component: NDArray[np.bool_] | None, outwards: FloatArray, upwards: FloatArray
) -> _Section | None:
    """Measures of a component, its lateral processes cut off; None where there is none."""
    if component is None:
        return None
    columns = np.arange(component.shape[1])
    share = np.cumsum(component.sum(axis=0)) / component.sum()
    component = component & (columns < np.searchsorted(share, 0.05) + int(MAX_BREADTH_MM / STEP_MM))
    depth = ndimage.distance_transform_edt(np.pad(component, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= depth.max() - 1)
    center = np.array([outwards[columns].mean(), upwards[rows].mean()])
    spread = np.cov(np.argwhere(component).T * STEP_MM)
    height = 4.0 * float(np.sqrt(np.linalg.eigvalsh(spread)[-1]))
    width = (2 * float(depth.max()) - 0.5) * STEP_MM
    return _Section(0.0, float(component.sum()) * STEP_MM**2, width, height, center)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest component, or None where it is smaller than ``MIN_AREA_MM2``."""
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    if count == 0 or sizes.max() * STEP_MM**2 < MIN_AREA_MM2:
        return None
    return parts == int(np.argmax(sizes)) + 1


def _narrowest(sections: list[_Section]) -> int | None:
    """Index of the smallest area before it grows by half again, walking backwards; None without a neck."""
    best = 0
    for index, section in enumerate(sections):
        if section.area_mm2 < sections[best].area_mm2:
            best = index
        elif section.area_mm2 > 1.5 * sections[best].area_mm2:
            return best if best > 0 else None
    return None


def _center(line: _Line, sections: list[_Section], narrowest: int) -> FloatArray:
    """Centre (u, v, w) of the slices around the isthmus that are hardly larger."""
    run = [narrowest]
    for step in (-1, 1):
        index = narrowest + step
        while 0 <= index < len(sections) and _belongs(sections, index - step, index, narrowest):
            run.append(index)
            index += step
    out, up = np.mean([sections[index].center_mm for index in run], axis=0)
    return line.point(sections[narrowest].along_mm, out, up)


def _belongs(sections: list[_Section], near: int, far: int, narrowest: int) -> bool:
    """Whether section ``far`` continues the pedicle that holds ``near``."""
    jump = float(np.linalg.norm(sections[far].center_mm - sections[near].center_mm))
    return sections[far].area_mm2 <= AREA_RATIO * sections[narrowest].area_mm2 and jump <= MAX_JUMP_MM


def _deepest_direction(vertebra: Vertebra, isthmus: FloatArray, sign: float) -> FloatArray:
    """Unit vector forward (u, v, w): deepest inside the bone, less a penalty for unusual angles."""
    usual, descent = MEDIAL_DEG[vertebra.level], CAUDAL_DEG[vertebra.level]
    turn, rise = np.meshgrid(np.arange(-14.0, 15.0, 2.0), np.arange(-16.0, 17.0, 2.0), indexing="ij")
    directions = _direction(usual + turn, rise - descent, sign)
    along = np.arange(*TUBE_MM, 0.5)[:, None]
    depth = -vertebra.signed_distance(vertebra.to_anatomy(isthmus + along * directions[:, :, None]))
    inside = np.minimum(depth, DEPTH_LIMIT_MM).mean(axis=-1) + 0.5 * depth.min(axis=-1)
    unusual = (turn / 10.0) ** 2 + (rise / 10.0) ** 2
    best = np.unravel_index(int(np.argmax(inside - ANGLE_WEIGHT * unusual)), inside.shape)
    return directions[best]
