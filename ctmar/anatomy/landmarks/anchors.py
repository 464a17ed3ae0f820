"""Screws below L5 from the labels of sacrum and hip bones: S1 pedicle, S2-alar-iliac and iliac screws.

Each has an entry region on the back of the bone and a usual course (below); of the lines around it the one is
taken that stays deepest inside the bone, by the distance transform, and has room for its length. An S2AI
screw crosses the sacroiliac joint, whose cartilage counts as bone here.

Usual courses, about the published averages: S1 30° towards the midline and 19° down; S2AI from beside the
first dorsal foramen 40° out and 35° down (Chang et al., Spine 2009: 40° and 40°, less in a patient lying
down); iliac from the posterior superior spine 25° out and 30° down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import HIP_LEFT, HIP_RIGHT, LEVEL_TO_ID, SACRUM
from ctmar.vectors import FloatArray, Vector, vector

STEP_MM = 1.0
JOINT_MM = 4.0
"""Width of the sacroiliac joint that is closed: cartilage and a label's gap."""
WALL_MM, MIN_RADIUS_MM = 0.5, 2.5
"""Bone beside a screw; a corridor narrower than the second at its narrowest takes none."""


class Course(NamedTuple):
    """Where a screw enters and goes; offsets in mm, angles in degrees."""

    lateral_mm: tuple[float, float]
    """Entry's distance from the midline."""
    below_mm: tuple[float, float]
    """Entry's height below the top of the sacrum in the midline."""
    outwards_deg: float
    """From straight forward, away from the midline; negative goes towards it."""
    down_deg: float
    lengths_mm: tuple[float, ...]
    diameters_mm: tuple[float, ...]
    """Allowed, ascending."""


COURSES: dict[str, Course] = {
    "S1": Course((17, 30), (-4, 16), -30, 19, (40, 45, 50), (5.5, 6.0, 6.5, 7.0, 7.5)),
    "S2AI": Course((12, 28), (18, 48), 40, 35, (65, 70, 75, 80, 85, 90), (6.5, 7.0, 7.5, 8.0, 8.5, 9.0)),
    "iliac": Course((25, 60), (0, 60), 25, 30, (60, 70, 80, 90, 100), (6.5, 7.0, 7.5, 8.0, 8.5)),
}
ANCHORS = tuple(COURSES)
_SPREAD_DEG = np.arange(-15.0, 15.1, 5.0)
COVER_MM, GAP_MM = 8.0, 4.0
"""Under the entry, where a screw breaks the cortex; behind the far cortex, where it ends."""
LENGTH_WORTH, ANGLE_COST, OFF_COST = 0.05, 0.15, 0.02
"""In mm of corridor: a mm of length, 10° off the usual course, a mm off the entry region's middle."""


@dataclass(frozen=True)
class Anchor:
    """A way for a screw into sacrum or pelvis; mm of the anatomy's frame, order (x, y, z).

    Attributes:
        kind: One of ``ANCHORS``.
        side: "left" or "right" of the patient.
        entry_mm: Where it enters the bone.
        direction: Unit vector of its course.
        radius_mm: Least distance of its axis from the bone's surface, beyond the entry's first 8 mm.
        length_mm: Of the screw, a standard one; its tip stays 4 mm behind the far cortex.
    """

    kind: str
    side: str
    entry_mm: Vector
    direction: Vector
    radius_mm: float
    length_mm: float


def find_anchors(anatomy: Anatomy, kinds: Sequence[str] = ANCHORS) -> tuple[Anchor, ...]:
    """The anchors that the labels have room for, left before right; none where there is no sacrum.

    S1 needs the sacrum's label alone, the others the hip bones' too.
    """
    sacrum = np.isin(anatomy.labels, (SACRUM, LEVEL_TO_ID["S1"]))
    if sacrum.sum() * np.prod(anatomy.spacing_mm) < 20_000:
        return ()
    found = []
    for kind in kinds:
        for side, hip in (("left", HIP_LEFT), ("right", HIP_RIGHT)):
            anchor = _anchor(anatomy, sacrum, anatomy.labels == hip, kind, side)
            found += [anchor] if anchor is not None else []
    return tuple(found)


def _anchor(
    anatomy: Anatomy, sacrum: NDArray[np.bool_], hip: NDArray[np.bool_], kind: str, side: str
) -> Anchor | None:
    sign, course, spacing = (1.0 if side == "left" else -1.0), COURSES[kind], anatomy.spacing_mm
    both = sacrum | hip
    if kind != "S1" and not hip.any():
        return None
    (around,) = ndimage.find_objects(both.astype(np.uint8))
    box = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in around)
    bone = {"S1": sacrum, "iliac": hip}.get(kind, both)[box]
    if kind == "S2AI":
        bone = _joined(sacrum[box], hip[box], spacing)
    middle, top = _middle_and_top(sacrum, spacing)
    corner = np.array([box[axis].start for axis in (2, 1, 0)]) * np.asarray(spacing)
    entries, off = _entries(bone, spacing, course, (middle - corner[0], top - corner[2]), sign)
    if not len(entries):
        return None
    out, down = np.meshgrid(course.outwards_deg + _SPREAD_DEG, course.down_deg + _SPREAD_DEG, indexing="ij")
    ways = _way(out.ravel(), down.ravel(), sign)
    along = np.arange(0.0, course.lengths_mm[-1] + GAP_MM + STEP_MM, STEP_MM)
    inside = _at(_depth(bone, spacing), entries[:, None, None] + along[:, None] * ways[:, None], spacing)
    best = _best(inside, along, ways, OFF_COST * off[:, None], course, sign)
    if best is None:
        return None
    entry, way, radius, length = best
    return Anchor(kind, side, vector(entries[entry] + corner), vector(ways[way]), radius, length)


def _best(
    inside: FloatArray,
    along: FloatArray,
    ways: FloatArray,
    cost: FloatArray,
    course: Course,
    sign: float,
) -> tuple[int, int, float, float] | None:
    """Entry, way, radius and length of the widest corridor; longer and usual ones first; None where none is.

    ``inside`` is the depth below the surface ``(entry, way, along)``, ``cost`` what its entry costs.
    """
    usual = np.degrees(np.arccos(np.clip(ways @ _way(course.outwards_deg, course.down_deg, sign), -1, 1)))
    enough, best, found = course.diameters_mm[-1] / 2 + 2 * WALL_MM, -np.inf, None
    for length in course.lengths_mm:
        # The first 8 mm lie under the cortex that the entry opens.
        radius = inside[..., (along >= COVER_MM) & (along <= length)].min(axis=-1)
        ends = inside[..., (along > length) & (along <= length + GAP_MM)].min(axis=-1) > 0
        score = np.minimum(radius, enough) + LENGTH_WORTH * length - ANGLE_COST * (usual / 10.0) ** 2 - cost
        score = np.where(ends & (radius >= MIN_RADIUS_MM), score, -np.inf)
        entry, way = np.unravel_index(int(np.argmax(score)), score.shape)
        if score[entry, way] > best:
            best = float(score[entry, way])
            found = (int(entry), int(way), float(radius[entry, way]), float(length))
    return found


def _way(out_deg: FloatArray | float, down_deg: FloatArray | float, sign: float) -> FloatArray:
    """Unit vectors ``(..., 3)`` forward, turned outwards and down."""
    out, down = np.radians(out_deg), np.radians(down_deg)
    forward = np.cos(down)
    return np.stack([sign * np.sin(out) * forward, -np.cos(out) * forward, -np.sin(down)], axis=-1)


def _middle_and_top(sacrum: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """X of the midline and z of the sacrum's top there, in mm; processes of the sides may stand higher."""
    columns = np.argwhere(sacrum)
    middle = float(columns[:, 2].mean()) * spacing_mm[0]
    near = np.abs(columns[:, 2] * spacing_mm[0] - middle) <= 8.0
    # Its body, not the spines behind: the front half.
    front = columns[:, 1] <= np.median(columns[near, 1])
    return middle, float(columns[near & front, 0].max()) * spacing_mm[2]


def _entries(
    bone: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    course: Course,
    place: tuple[float, float],
    sign: float,
) -> tuple[FloatArray, FloatArray]:
    """The hindmost bone (n, 3) in mm of every column of the entry region, and how far (n,) off its middle."""
    z, x = np.nonzero(bone.any(axis=1))
    lateral, below = sign * (x * spacing_mm[0] - place[0]), place[1] - z * spacing_mm[2]
    here = (lateral >= course.lateral_mm[0]) & (lateral <= course.lateral_mm[1])
    here &= (below >= course.below_mm[0]) & (below <= course.below_mm[1])
    z, x = z[here], x[here]
    y = bone.shape[1] - 1 - np.argmax(bone[:, ::-1][z, :, x], axis=1)
    off = np.hypot(lateral[here] - np.mean(course.lateral_mm), below[here] - np.mean(course.below_mm))
    return np.stack([x, y, z], axis=-1) * np.asarray(spacing_mm), off


def _joined(
    sacrum: NDArray[np.bool_], hip: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Sacrum and hip bone with the joint between them: what lies within half its width of both."""
    near = [
        ndimage.distance_transform_edt(~bone, sampling=spacing_mm[::-1]) <= JOINT_MM / 2 + min(spacing_mm)
        for bone in (sacrum, hip)
    ]
    return sacrum | hip | (near[0] & near[1])


def _depth(bone: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Signed depth below the bone's surface in mm, positive inside."""
    inside = ndimage.distance_transform_edt(bone, sampling=spacing_mm[::-1])
    outside = ndimage.distance_transform_edt(~bone, sampling=spacing_mm[::-1])
    half = min(spacing_mm) / 2
    return np.where(bone, inside - half, half - outside)


def _at(depth: NDArray[np.float64], points: FloatArray, spacing_mm: tuple[float, float, float]) -> FloatArray:
    index = np.moveaxis(points / np.asarray(spacing_mm), -1, 0)[::-1]
    return ndimage.map_coordinates(depth, index, order=1, mode="constant", cval=-100.0, output=np.float32)
