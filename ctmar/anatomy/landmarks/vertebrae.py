"""One vertebra of a label map as a signed distance in a frame of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import ID_TO_LEVEL, LEVEL_TO_ID
from ctmar.anatomy.landmarks.canal import Canal
from ctmar.vectors import FloatArray, unit

SCREW_LEVELS: dict[int, str] = {
    number: ID_TO_LEVEL[number] for number in range(LEVEL_TO_ID["L5"], LEVEL_TO_ID["C7"] + 1)
}
"""Vertebrae that take pedicle screws, by TotalSegmentator v2 id, from L5 (27) up to C7 (44)."""

CROP_PAD = 3
BESIDE_MM = 12.0
"""The canal this far above and below the body's middle gives the vertebra's tilt: about a body's height."""
MAX_REACH_MM = 80.0
"""Longer than any way through a vertebra along a pedicle."""
MIN_BODY_MM3 = 2000.0
"""Less bone than this before the canal is a fragment; the body of T1 holds about 9000 mm³."""


@dataclass(frozen=True)
class Vertebra:
    """A vertebra and its frame: u to the patient's left, v to the back, w to the head along the canal.

    Attributes:
        level: Its name ("T11").
        origin_mm: Centre of its canal.
        axes: Rows u, v, w: orthonormal, in the order (x, y, z).
        distance_mm: Signed distance to its surface on the voxels of its crop, negative inside.
        corner: Voxel index (x, y, z) of the crop's first voxel.
        spacing_mm: Voxel size in the order (x, y, z).
    """

    level: str
    origin_mm: FloatArray
    axes: FloatArray
    distance_mm: NDArray[np.float32]
    corner: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def signed_distance(self, points_mm: FloatArray) -> FloatArray:
        """Distance in mm of points ``(..., 3)`` to the surface, negative inside, by linear interpolation."""
        index = points_mm / np.asarray(self.spacing_mm) - np.asarray(self.corner)
        return ndimage.map_coordinates(
            self.distance_mm, np.moveaxis(index, -1, 0)[::-1], order=1, mode="constant", cval=100.0
        )

    def to_local(self, points_mm: FloatArray) -> FloatArray:
        """Points ``(..., 3)`` in mm as (u, v, w)."""
        return (points_mm - self.origin_mm) @ self.axes.T

    def to_anatomy(self, local_mm: FloatArray) -> FloatArray:
        """Points (u, v, w) as (x, y, z) in mm of the anatomy's frame."""
        return local_mm @ self.axes + self.origin_mm

    def reach_mm(self, start_mm: FloatArray, direction: FloatArray, lasting_mm: float = 1.5) -> float:
        """Distance from a point inside, along a unit direction, to where the bone ends for ``lasting_mm``."""
        steps = np.arange(0.0, MAX_REACH_MM, 0.25)
        outside = self.signed_distance(start_mm + steps[:, None] * direction) > 0
        lasting = ndimage.binary_opening(outside, np.ones(max(1, round(lasting_mm / 0.25))))
        return float(steps[np.argmax(lasting)]) if lasting.any() else MAX_REACH_MM


def find_vertebrae(anatomy: Anatomy, canal: Canal) -> tuple[Vertebra, ...]:
    """Vertebrae from L5 upwards with a body in the volume, not cut at its sides, that the canal passes.

    Processes behind the canal may be cut, and the volume may end within the vertebra: whether a
    pedicle is there is the pedicle's own question.
    """
    boxes = ndimage.find_objects(anatomy.labels, max(SCREW_LEVELS))
    found = [
        _cut(anatomy, canal, label, boxes[label - 1])
        for label in SCREW_LEVELS
        if boxes[label - 1] is not None
    ]
    return tuple(vertebra for vertebra in found if vertebra is not None)


def _cut(anatomy: Anatomy, canal: Canal, label: int, box: tuple[slice, ...]) -> Vertebra | None:
    """The vertebra of a label that fills ``box``, or None where it will not serve."""
    centers = canal.centers_mm(box[0].start - 1, box[0].stop)
    if len(centers) < 3:
        return None
    padded = tuple(
        slice(max(s.start - CROP_PAD, 0), min(s.stop + CROP_PAD, n))
        for s, n in zip(box, anatomy.labels.shape, strict=True)
    )
    bone = anatomy.labels[padded] == label
    corner = (padded[2].start, padded[1].start, padded[0].start)
    front = _front(bone, corner, anatomy, centers)
    if front is None:
        return None
    origin, axes = _frame(centers, front)
    return Vertebra(
        SCREW_LEVELS[label], origin, axes, _distance(bone, anatomy.spacing_mm), corner, anatomy.spacing_mm
    )


def _front(
    bone: NDArray[np.bool_], corner: tuple[int, int, int], anatomy: Anatomy, centers: FloatArray
) -> FloatArray | None:
    """Voxels (n, 3) in mm before the canal's centre; None where cut at the sides or no body."""
    index = np.argwhere(bone)[:, ::-1] + np.asarray(corner)
    points = index * np.asarray(anatomy.spacing_mm)
    before = points[:, 1] < np.interp(points[:, 2], centers[:, 2], centers[:, 1])
    last = np.asarray(anatomy.labels.shape)[::-1] - 1
    edge = ((index == 0) | (index == last))[:, :2].any(axis=1)
    volume = before.sum() * float(np.prod(anatomy.spacing_mm))
    return None if (before & edge).any() or volume < MIN_BODY_MM3 else points[before]


def _frame(centers: FloatArray, front: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Origin at the canal's middle, w along its centres beside the body, v away from the body."""
    beside = np.abs(centers[:, 2] - np.median(front[:, 2])) <= BESIDE_MM
    if beside.sum() >= 3:
        centers = centers[beside]
    slopes = [np.polyfit(centers[:, 2], centers[:, axis], 1)[0] for axis in range(2)]
    origin, w = centers.mean(axis=0), unit([slopes[0], slopes[1], 1.0])
    back = origin - front.mean(axis=0)
    v = unit(back - (back @ w) * w)
    return origin, np.stack([np.cross(v, w), v, w])


def _distance(bone: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance to the nearest voxel across the surface, negative inside: zero between the two."""
    padded = np.pad(bone, 1)
    outside = ndimage.distance_transform_edt(~padded, sampling=spacing_mm[::-1])
    inside = ndimage.distance_transform_edt(padded, sampling=spacing_mm[::-1])
    return (outside - inside)[1:-1, 1:-1, 1:-1].astype(np.float32)
