"""A scene: a body, metal, and how the patient lies; cut into slices on the scanner's pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.anatomy.body import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.implants.construct import Change
from ctmar.implants.shapes import Part, Shape
from ctmar.units import AIR_HU
from ctmar.vectors import FloatArray

SUB_PLANES = 5
"""Planes over the thickness of a slice in which metal is sampled, at least ..."""
SUB_PLANE_MM = 0.5
NEAR_PIXELS = 0.8
"""... and no farther apart than the first; a pixel whose centre lies closer to a surface than the second,
in pixels, may be cut by it."""


@dataclass(frozen=True)
class Pose:
    """How the patient lies on the table: turned and shifted in the slice's plane.

    Attributes:
        rotation_deg: About the centre of the volume; positive turns the patient's left (+x) towards the
            back (+y), clockwise in the image as shown.
        shift_mm: Then (x, y): to the patient's left, to the back.
    """

    rotation_deg: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shift_mm) != 2 or not all(map(math.isfinite, (self.rotation_deg, *self.shift_mm))):
            raise CtmarError(f"a pose needs finite numbers, got {self.rotation_deg!r} and {self.shift_mm!r}")

    @property
    def rotation(self) -> FloatArray:
        """The 2 × 2 matrix that turns a patient's (x, y) into the scanner's."""
        c, s = math.cos(math.radians(self.rotation_deg)), math.sin(math.radians(self.rotation_deg))
        return np.array([[c, -s], [s, c]])


@dataclass(frozen=True)
class SceneSlices:
    """Slices of a scene on the scanner's pixels; everything is ``(slice, row, column)``.

    Attributes:
        hu: The body without metal in HU, float32; -1000 outside the volume.
        labels: TotalSegmentator v2 ids, uint8; 0 outside the volume.
        metal: Share of each pixel's volume that a material fills, in [0, 1], float32, by material;
            together at most 1.
        spacing_mm: Edge of a pixel.
    """

    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    metal: dict[str, NDArray[np.float32]]
    spacing_mm: float

    def take(self, places: Sequence[int]) -> "SceneSlices":
        """The slices at these places, in this order."""
        index = list(places)
        metal = {name: filled[index] for name, filled in self.metal.items()}
        return SceneSlices(self.hu[index], self.labels[index], metal, self.spacing_mm)


@dataclass(frozen=True)
class Scene:
    """A body with metal in it.

    Attributes:
        anatomy: The body, without the metal.
        parts: The metal, in mm of the anatomy's frame; where parts overlap the earlier one wins.
        center_slice: The slice (z in voxels) that a case is about.
        pose: How the patient lies.
        parameters: Everything that was sampled, as plain types.
        changes: What surgery replaced in the body, there with and without the metal; the later one wins.
    """

    anatomy: Anatomy
    parts: tuple[Part, ...]
    center_slice: int
    pose: Pose = Pose()
    parameters: dict[str, Any] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def slices(self, offsets: Sequence[int], grid: ImageGrid) -> SceneSlices:
        """Slices at ``center_slice + offset`` on ``grid``, whose centre is the volume's in-plane centre.

        Raises:
            CtmarError: Where a slice lies outside the volume.
        """
        indices = [self.center_slice + offset for offset in offsets]
        last = len(self.anatomy.hu) - 1
        if not indices or min(indices) < 0 or max(indices) > last:
            raise CtmarError(f"slices must lie in 0 to {last} of {self.anatomy.name}, got {indices}")
        cuts = [metal_in_slice(self.parts, self.anatomy, k, self.pose, grid) for k in indices]
        empty = np.zeros(grid.shape, np.float32)
        materials = sorted({name for cut in cuts for name in cut})
        bodies = [self._body(k, grid) for k in indices]
        return SceneSlices(
            hu=np.stack([hu for hu, _ in bodies]),
            labels=np.stack([labels for _, labels in bodies]),
            metal={name: np.stack([cut.get(name, empty) for cut in cuts]) for name in materials},
            spacing_mm=grid.spacing_mm,
        )

    def _body(self, index: int, grid: ImageGrid) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """HU and labels of a slice as surgery left them; what it replaced has no label."""
        hu = self._resample(self.anatomy.hu[index], grid, order=1, outside=AIR_HU)
        labels = self._resample(self.anatomy.labels[index], grid, order=0, outside=0)
        for change in self.changes:
            found = _occupancy(change.shape, self.anatomy, index, self.pose, grid)
            if found is not None:
                window, filled = found
                hu[window] += filled * (np.float32(change.hu) - hu[window])
                labels[window][filled > 0.5] = 0
        return hu, labels

    def _resample(self, image: NDArray[Any], grid: ImageGrid, order: int, outside: float) -> NDArray[Any]:
        """A slice of the volume on the scanner's pixels, linear (order 1) or nearest (order 0)."""
        voxel = np.asarray(self.anatomy.spacing_mm)[[1, 0]]
        backward = self.pose.rotation.T[::-1, ::-1]  # the scanner's (y, x) to the patient's
        matrix = backward * grid.spacing_mm / voxel[:, None]
        shift = backward @ np.asarray(self.pose.shift_mm)[::-1]
        pixel_center = (np.asarray(grid.shape) - 1) / 2
        offset = (volume_center_mm(self.anatomy)[::-1] - shift) / voxel - matrix @ pixel_center
        return ndimage.affine_transform(
            image, matrix, offset, output_shape=grid.shape, order=order, mode="constant", cval=outside
        )


def volume_center_mm(anatomy: Anatomy) -> FloatArray:
    """In-plane centre (x, y) of the volume in mm of its frame: halfway between the outer voxels' centres."""
    rows, columns = anatomy.hu.shape[1:]
    return np.array([(columns - 1) / 2 * anatomy.spacing_mm[0], (rows - 1) / 2 * anatomy.spacing_mm[1]])


def metal_in_slice(
    parts: Sequence[Part], anatomy: Anatomy, index: int, pose: Pose, grid: ImageGrid
) -> dict[str, NDArray[np.float32]]:
    """Share of each pixel's volume in a slice that each material fills, by material that is there."""
    taken = np.zeros(grid.shape, np.float32)
    metal: dict[str, NDArray[np.float32]] = {}
    for part in parts:
        found = _occupancy(part.shape, anatomy, index, pose, grid)
        if found is None:
            continue
        window, filled = found
        filled = filled * np.float32(part.fill) if part.fill < 1 else filled
        added = np.minimum(filled, 1 - taken[window])
        taken[window] += added
        metal.setdefault(part.material, np.zeros(grid.shape, np.float32))[window] += added
    return metal


def _occupancy(
    shape: Shape, anatomy: Anatomy, index: int, pose: Pose, grid: ImageGrid
) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
    """Rows and columns of a solid, and the share of each pixel that it fills; None where it is not there."""
    low, high = shape.bounds_mm()
    thickness = anatomy.spacing_mm[2]
    planes = max(SUB_PLANES, math.ceil(thickness / SUB_PLANE_MM))
    heights = (index - 0.5 + (np.arange(planes) + 0.5) / planes) * thickness
    heights = heights[(heights > low[2] - grid.spacing_mm) & (heights < high[2] + grid.spacing_mm)]
    window = _window(low, high, anatomy, pose, grid)
    if len(heights) == 0 or window is None:
        return None
    xy, turn = _patient_points(window, anatomy, pose, grid), pose.rotation
    filled = np.zeros(xy.shape[:-1])
    for z in heights:
        filled += _filled(shape, np.dstack([xy, np.full(xy.shape[:-1], z)]), grid.spacing_mm, turn)
    if not filled.any():
        return None
    return window, (filled / planes).astype(np.float32)


def _filled(shape: Shape, points: FloatArray, spacing_mm: float, turn: FloatArray) -> FloatArray:
    """Share of each pixel ``(rows, columns, 3)`` inside a shape; on its surface from four parts a pixel.

    A thread's groove is narrower than a pixel: one distance a pixel makes a screw 1 to 2 % too large.
    """
    distance = shape.signed_distance(points)
    share = np.where(distance < 0, 1.0, 0.0)
    near = np.abs(distance) < NEAR_PIXELS * spacing_mm
    quarters = np.array([(i, j) for i in (-0.25, 0.25) for j in (-0.25, 0.25)]) * spacing_mm @ turn
    parts = points[near][:, None] + np.pad(quarters, ((0, 0), (0, 1)))
    share[near] = np.clip(0.5 - shape.signed_distance(parts) * 2 / spacing_mm, 0.0, 1.0).mean(axis=1)
    return share


def _window(
    low: FloatArray, high: FloatArray, anatomy: Anatomy, pose: Pose, grid: ImageGrid
) -> tuple[slice, slice] | None:
    """Rows and columns that a box of the patient's frame covers; None where it misses the grid."""
    corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
    scanner = (corners - volume_center_mm(anatomy)) @ pose.rotation.T + np.asarray(pose.shift_mm)
    pixels = scanner[:, ::-1] / grid.spacing_mm + (np.asarray(grid.shape) - 1) / 2
    first = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - 1, 0)
    stop = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 2, grid.shape)
    if (first >= stop).any():
        return None
    return slice(int(first[0]), int(stop[0])), slice(int(first[1]), int(stop[1]))


def _patient_points(window: tuple[slice, slice], anatomy: Anatomy, pose: Pose, grid: ImageGrid) -> FloatArray:
    """Patient's (x, y) in mm of the pixels of a window, shape (rows, columns, 2)."""
    rows, columns = (np.arange(s.start, s.stop, dtype=float) for s in window)
    x = (columns - (grid.shape[1] - 1) / 2) * grid.spacing_mm - pose.shift_mm[0]
    y = (rows - (grid.shape[0] - 1) / 2) * grid.spacing_mm - pose.shift_mm[1]
    return np.stack(np.meshgrid(x, y), axis=-1) @ pose.rotation + volume_center_mm(anatomy)
