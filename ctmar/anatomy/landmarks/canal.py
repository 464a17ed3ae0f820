"""The spinal canal from a label map: no screw may enter it, and its line gives each vertebra an axis."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import CORD, VERTEBRAE
from ctmar.vectors import FloatArray

CORD_MARGIN_MM = 2.5
"""Canal around the cord where no ring of bone closes it: half the difference between
a canal of 15 to 16 mm and a cord of about 10 mm in height."""


OPEN_RING_MM = 5.0
"""How far the cavity goes on above and below the slices in which the ring is closed."""
STRAY_MM, STRAY_SPAN_MM = 6.0, 40.0
"""A cavity this far from the middle of those around it, within half the span up and down, is no canal:
between two endplates the rim of a body closes a ring of its own around the disc."""


@dataclass(frozen=True)
class Canal:
    """The canal as voxels.

    Attributes:
        mask: Bool ``(z, y, x)``; no voxel of a vertebra belongs to it.
        spacing_mm: Voxel size in the order (x, y, z).
    """

    mask: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]

    def contains(self, points_mm: FloatArray) -> NDArray[np.bool_]:
        """Whether points ``(..., 3)`` (x, y, z) in mm lie in the canal; False outside the volume."""
        index = np.rint(points_mm / np.asarray(self.spacing_mm)).astype(int)[..., ::-1]
        inside = ((index >= 0) & (index < self.mask.shape)).all(axis=-1)
        k, j, i = np.moveaxis(np.where(inside[..., None], index, 0), -1, 0)
        return inside & self.mask[k, j, i]

    def centers_mm(self, first: int, last: int) -> FloatArray:
        """Centroids (n, 3) in mm of the slices from ``first`` to ``last`` that hold any of it."""
        found = [k for k in range(max(first, 0), min(last + 1, len(self.mask))) if self.mask[k].any()]
        rows = [[*(np.argwhere(self.mask[k]).mean(axis=0)[::-1]), k] for k in found]
        return np.asarray(rows, dtype=float).reshape(-1, 3) * np.asarray(self.spacing_mm)


def find_canal(anatomy: Anatomy) -> Canal:
    """The cavity inside the vertebral rings, and the cord with a margin, of a labelled volume."""
    bone = (anatomy.labels >= VERTEBRAE[0]) & (anatomy.labels <= VERTEBRAE[-1])
    cord = anatomy.labels == CORD
    mask = np.zeros(bone.shape, dtype=bool)
    window = _window(bone | cord, anatomy.spacing_mm)
    if window is None:
        return Canal(mask, anatomy.spacing_mm)
    inside, ring = mask[:, window[0], window[1]], bone[:, window[0], window[1]]
    for k in np.flatnonzero(ring.any(axis=(1, 2))):
        inside[k] = _cavity(ring[k], anatomy.spacing_mm)
    inside[_stray(inside, anatomy.spacing_mm)] = False
    span = 2 * round(OPEN_RING_MM / anatomy.spacing_mm[2]) + 1
    inside |= ndimage.maximum_filter1d(inside, span, axis=0)
    margin = _disc(CORD_MARGIN_MM, anatomy.spacing_mm)
    inside |= ndimage.binary_dilation(cord[:, window[0], window[1]], margin[None])
    inside &= ~ring
    return Canal(mask, anatomy.spacing_mm)


def _window(voxels: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> tuple[slice, slice] | None:
    """In-plane box around ``voxels`` with 10 mm to spare."""
    flat = voxels.any(axis=0)
    rows, columns = (np.unique(where) for where in np.nonzero(flat))
    if len(rows) == 0:
        return None
    pad_y, pad_x = int(10 / spacing_mm[1]) + 1, int(10 / spacing_mm[0]) + 1
    return (
        slice(max(int(rows[0]) - pad_y, 0), int(rows[-1]) + pad_y + 1),
        slice(max(int(columns[0]) - pad_x, 0), int(columns[-1]) + pad_x + 1),
    )


def _stray(inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.intp]:
    """Slices whose cavity lies apart from the median of the cavities around it."""
    found = np.flatnonzero(inside.any(axis=(1, 2)))
    middle = np.array([np.argwhere(inside[k]).mean(axis=0) for k in found]).reshape(-1, 2)
    middle = middle * np.asarray(spacing_mm[1::-1])
    near = np.abs(found[:, None] - found) * spacing_mm[2] <= STRAY_SPAN_MM / 2
    usual = np.array([np.median(middle[row], axis=0) for row in near]).reshape(-1, 2)
    return found[np.linalg.norm(middle - usual, axis=1) > STRAY_MM]


def _disc(radius_mm: float, spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Footprint of a disc in the slice."""
    reach_y, reach_x = int(radius_mm / spacing_mm[1]), int(radius_mm / spacing_mm[0])
    y, x = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    return (y * spacing_mm[1]) ** 2 + (x * spacing_mm[0]) ** 2 <= radius_mm**2


def _cavity(bone: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The hole of canal size (60 to 700 mm²) in a slice's ring of bone, its small gaps closed first."""
    ring = ndimage.binary_closing(np.pad(bone, 4), _disc(1.5, spacing_mm))[4:-4, 4:-4] | bone
    holes, count = ndimage.label(ndimage.binary_fill_holes(ring) & ~ring)
    if count == 0:
        return np.zeros_like(bone)
    areas = np.bincount(holes.ravel())[1:] * spacing_mm[0] * spacing_mm[1]
    largest = int(np.argmax(areas))
    return (holes == largest + 1) if 60 <= areas[largest] <= 700 else np.zeros_like(bone)
