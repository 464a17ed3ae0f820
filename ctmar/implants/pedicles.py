"""Pedicles from a label map: where each is narrowest, how wide it is there, and the axis a screw follows.

The way is the usual one for label maps: walk coronal slices from the body backwards, follow each side's
component; the *isthmus* is the smallest area. The slices are cut in each vertebra's own frame
(``ctmar.implants.vertebra``), interpolated between the scan's slices, so that a tilted vertebra and
slices of 3 mm serve.

The slices of at most 1.25 times the isthmus's area give the axis its place. The line through their
centroids does not give a usable direction: they span about 4 mm, and on scans of 2.5 to 3 mm slices the
line swings by 20° from side to side. The direction is the one that stays deepest inside the bone, by the
distance transform, drawn mildly towards the published medial angle of the level.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.implants.canal import find_canal
from ctmar.implants.shapes import FloatArray, Vector, vector
from ctmar.implants.vertebra import Vertebra, find_vertebrae

STEP_MM = 0.75
"""Grid of the coronal slices."""
MIN_AREA_MM2, MIN_OFFSET_MM, MAX_OFFSET_MM, MAX_JUMP_MM, AREA_RATIO = 20.0, 3.0, 40.0, 4.0, 1.25
"""Component area, lateral offset, centroid jump and area limits of the walk."""
MAX_BREADTH_MM = 18.0
"""From a component's medial edge outwards: cuts off transverse processes; pedicles reach 15 mm (L5)."""
FRONT_MM, BACK_MM = -16.0, 7.0
"""The walk, from the canal's centre: from well inside the body to the back of the canal."""
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


class _Section(NamedTuple):
    """The component of one coronal slice."""

    area_mm2: float
    width_mm: float
    """Diameter of the largest circle inside, to a third of a millimetre."""
    center_mm: FloatArray
    """Middle of the deepest points (u, v, w)."""


def find_pedicles(anatomy: Anatomy) -> tuple[Pedicle, ...]:
    """Pedicles of every vertebra that lies whole in the volume, from L5 upwards, left before right.

    Whole are body and pedicles; processes behind the canal may be cut.

    The answer is empty where the labels hold no such vertebra.
    """
    vertebrae = find_vertebrae(anatomy, find_canal(anatomy))
    found = [_pedicle(vertebra, side) for vertebra in vertebrae for side in ("left", "right")]
    return tuple(pedicle for pedicle in found if pedicle is not None)


def _pedicle(vertebra: Vertebra, side: str) -> Pedicle | None:
    sections = _walk(vertebra, side)
    narrowest = _narrowest(sections)
    if narrowest is None:
        return None
    isthmus = _center(sections, narrowest)
    direction = _deepest_direction(vertebra, isthmus, side)
    center, axis = vertebra.to_anatomy(isthmus), direction @ vertebra.axes
    back, front = vertebra.reach_mm(center, -axis), vertebra.reach_mm(center, axis)
    if back < MIN_BACK_MM or front < MIN_FRONT_MM:
        return None
    width = sections[narrowest].width_mm * float(-direction[1])
    height = 4 * sections[narrowest].area_mm2 / (np.pi * sections[narrowest].width_mm)
    entry = vector(center - back * axis)
    return Pedicle(
        vertebra.level, side, vector(center), vector(axis), entry, width, height, float(back + front)
    )


def _walk(vertebra: Vertebra, side: str) -> list[_Section]:
    """Sections from the body backwards, up to the first slice behind them that has none."""
    sections: list[_Section] = []
    for v in np.arange(FRONT_MM, BACK_MM, STEP_MM):
        section = _section(vertebra, side, float(v))
        if section is not None:
            sections.append(section)
        elif sections:
            break
    return sections


def _section(vertebra: Vertebra, side: str, v: float) -> _Section | None:
    """The largest component on one side of the coronal slice ``v``, or None."""
    outwards = np.arange(MIN_OFFSET_MM, MAX_OFFSET_MM, STEP_MM)
    w, u = np.meshgrid(
        np.arange(-30.0, 30.0, STEP_MM), outwards if side == "left" else -outwards, indexing="ij"
    )
    points = np.stack([u, np.full_like(u, v), w], axis=-1)
    component = _largest(vertebra.signed_distance(vertebra.to_anatomy(points)) < 0)
    if component is None:
        return None
    columns = np.arange(component.shape[1])
    share = np.cumsum(component.sum(axis=0)) / component.sum()
    component &= columns < np.searchsorted(share, 0.05) + int(MAX_BREADTH_MM / STEP_MM)
    depth = ndimage.distance_transform_edt(np.pad(component, 1))[1:-1, 1:-1]
    center = points[depth >= depth.max() - 1].mean(axis=0)
    return _Section(float(component.sum()) * STEP_MM**2, (2 * float(depth.max()) - 0.5) * STEP_MM, center)


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


def _center(sections: list[_Section], narrowest: int) -> FloatArray:
    """Centre (u, v, w) of the slices around the isthmus that are hardly larger."""
    run = [narrowest]
    for step in (-1, 1):
        index = narrowest + step
        while 0 <= index < len(sections) and _belongs(sections, index - step, index, narrowest):
            run.append(index)
            index += step
    center = np.mean([sections[index].center_mm for index in run], axis=0)
    return np.array([center[0], sections[narrowest].center_mm[1], center[2]])


def _belongs(sections: list[_Section], near: int, far: int, narrowest: int) -> bool:
    """Whether section ``far`` continues the pedicle that holds ``near``."""
    jump = float(np.linalg.norm(sections[far].center_mm - sections[near].center_mm))
    return sections[far].area_mm2 <= AREA_RATIO * sections[narrowest].area_mm2 and jump <= MAX_JUMP_MM


def _deepest_direction(vertebra: Vertebra, isthmus: FloatArray, side: str) -> FloatArray:
    """Unit vector forward (u, v, w): deepest inside the bone, less a penalty for unusual angles."""
    sign = 1.0 if side == "left" else -1.0
    medial, tilt = np.meshgrid(np.arange(-10.0, 42.0, 2.0), np.arange(-16.0, 17.0, 2.0), indexing="ij")
    slopes = [-sign * np.tan(np.radians(medial)), -np.ones_like(medial), np.tan(np.radians(tilt))]
    directions = np.stack(slopes, axis=-1)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    along = np.arange(*TUBE_MM, 0.5)[:, None]
    depth = -vertebra.signed_distance(vertebra.to_anatomy(isthmus + along * directions[:, :, None]))
    inside = np.minimum(depth, 6.0).mean(axis=-1) + 0.5 * depth.min(axis=-1)
    unusual = ((medial - MEDIAL_DEG[vertebra.level]) / 10.0) ** 2 + (tilt / 10.0) ** 2
    best = np.unravel_index(int(np.argmax(inside - 0.25 * unusual)), inside.shape)
    return directions[best]
