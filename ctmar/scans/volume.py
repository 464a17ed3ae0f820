"""A volume file as a scan, written byte for byte as it came but for its voxels."""

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError, flat
from ctmar.scans.nifti import read_nifti, write_nifti
from ctmar.scans.spliced import read_frame, write_frame
from ctmar.scans.stack import Derivation, Frame, Sink
from ctmar.stored.corrected import Corrected, Image

NIFTI = (".nii.gz", ".nii")
OTHERS = (".nrrd", ".mha")
SUFFIXES = (*NIFTI, *OTHERS)
LARGEST_TILT = 45.0
SHEAR_IN_PLANE = 0.02
"""Radians that rows and columns may be off a right angle."""
MOST_SAID = 120
"""Characters of a library's words."""


def suffix_of(path: Path) -> str | None:
    """The suffix of a volume file; None for any other name."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def write_volume(path: Path, images_hu: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> None:
    """Writes slices as a volume file of float32, the axis of rotation at its middle.

    Args:
        path: With one of :data:`SUFFIXES`.
        images_hu: ``(slice, row, column)``; rows from the front, columns from the patient's right.
        spacing_mm: Of slices, rows and columns.

    Raises:
        CtmarError: It cannot be written, as where the disk is full.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(images_hu)
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin([-(n - 1) / 2 * mm for n, mm in zip(images_hu.shape, spacing_mm, strict=True)][::-1])
    try:
        sitk.WriteImage(image, str(path))
    except RuntimeError as error:
        raise CtmarError(f"{path.name}: must be writable, got {_said(error, path)}") from None


class VolumeScan:
    """A volume of HU in one file, held in memory as it is stored.

    Slices are taken along the axis that lies closest to the patient's, whichever it is in the file. They may
    be shifted against each other, as those of a tilted gantry are.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    Raises:
        CtmarError: Unreadable, not 3D, not one real number a voxel, or no axis along the patient.
    """

    is_dicom = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self.notes: list[str] = []
        self.slope, self.intercept = 1.0, 0.0
        origin, axes = self._open(path)
        spacing = np.linalg.norm(axes, axis=0)
        if not np.isfinite(spacing).all() or spacing.min() <= 0:
            raise CtmarError(f"{path.name}: spacing must be positive, got {tuple(map(float, spacing))}")
        direction = axes / spacing
        # Columns are the file's axes x, y, z; arrays have them in the order z, y, x.
        axis = int(np.argmax(np.abs(direction[2])))
        order = [*(k for k in (0, 1, 2) if k != axis), axis]
        across = np.cross(direction[:, order[0]], direction[:, order[1]])
        if np.linalg.norm(across) < math.cos(SHEAR_IN_PLANE):
            raise CtmarError(f"{path.name}: rows and columns must be at a right angle, got sheared slices")
        across /= np.linalg.norm(across) * (-1 if across @ direction[:, axis] < 0 else 1)
        if abs(float(across[2])) < math.cos(math.radians(LARGEST_TILT)):
            raise CtmarError(f"{path.name}: an axis must lie along the patient, got one 45° off or more")
        if axis != 2:
            self.notes.append(f"slices lie across axis {'xyz'[axis]} of the file")
        self.slices = np.moveaxis(self.voxels, 2 - axis, 0)
        in_plane = [float(spacing[k]) for k in (2, 1, 0) if k != axis]
        self.shape = (int(self.slices.shape[1]), int(self.slices.shape[2]))
        self.spacing_mm = (in_plane[0], in_plane[1])
        step = float(axes[:, axis] @ across)
        self.places_mm = tuple(k * step for k in range(len(self.slices)))
        self._astray_mm = float(np.linalg.norm(axes[:, axis] - step * across)) * (len(self.slices) - 1)
        if self._astray_mm > 0.1 * in_plane[0]:
            self.notes.append(
                f"slices are shifted against each other, by {self._astray_mm:.4g} mm in all: each is"
                " corrected in its own plane"
            )
        columns = np.stack([*direction[:, order[:2]].T, across], axis=1)
        sizes = (float(spacing[order[0]]), float(spacing[order[1]]), step)
        self._frame: Frame = (tuple(map(float, origin)), sizes, tuple(columns.ravel()))

    def _open(self, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sets ``voxels`` and the rescaling; returns the origin and the axes, mm a voxel, as columns."""
        if suffix_of(path) in NIFTI:
            nifti = read_nifti(path)
            self.content, self.voxels = nifti.content, nifti.voxels
            self.slope, self.intercept, self.notes = nifti.slope, nifti.intercept, nifti.notes
            return nifti.origin, nifti.axes
        import SimpleITK as sitk

        self.header = read_frame(path)
        reader = sitk.ImageFileReader()
        reader.SetFileName(os.fspath(path))
        try:
            reader.ReadImageInformation()
            if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
                raise CtmarError(
                    f"{path.name}: must be 3D with one value a voxel, got {reader.GetDimension()}D with"
                    f" {reader.GetNumberOfComponents()}"
                )
            self.voxels = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise CtmarError(f"{path.name}: must be a readable volume, got {_said(error, path)}") from None
        if self.voxels.dtype.kind not in "iuf":
            raise CtmarError(f"{path.name}: voxels must be real numbers, got {self.voxels.dtype}")
        direction = np.reshape(reader.GetDirection(), (3, 3))
        return np.asarray(reader.GetOrigin()), direction * np.asarray(reader.GetSpacing())

    def read(self, index: int) -> Image:
        """A slice in HU."""
        return np.asarray(self.slices[index] * self.slope + self.intercept, np.float32)

    def frame(self) -> Frame:
        """Where the slices lie, in the order that they are taken in, as if they were not shifted."""
        return self._frame

    def astray_mm(self) -> float:
        """How far a slice at most lies from where :meth:`frame` has it."""
        return self._astray_mm

    def sink(self, folder: Path, derivation: Derivation) -> Sink:
        """The file of the same name in ``folder``."""
        return _Volume(self, folder / self.path.name)

    def put(self, index: int, corrected: Corrected) -> None:
        """Replaces a slice in memory."""
        if corrected.kept.all():
            return
        place = self.slices[index]
        values = (corrected.image_hu.astype(np.float64) - self.intercept) / self.slope
        if place.dtype.kind in "iu":
            limits = np.iinfo(place.dtype)
            values = np.rint(values).clip(limits.min, limits.max)
        self.slices[index] = np.where(corrected.kept, place, values.astype(place.dtype))

    def save(self, path: Path) -> None:
        """Writes the volume with the header it came with."""
        if suffix_of(path) in NIFTI:
            write_nifti(self.content, path)
        else:
            write_frame(self.header, self.voxels, path)


class _Volume:
    """A volume that is written at the end.

    Slices are replaced in memory, which the scan's own reading must not see: those that a method may
    still look at are put off until the last one.
    """

    def __init__(self, scan: VolumeScan, path: Path) -> None:
        self.scan, self.path = scan, path
        self.waiting: list[tuple[int, Corrected]] = []

    def write(self, index: int, corrected: Corrected) -> None:
        """Takes a slice; puts those into the volume that lie two or more behind it."""
        self.waiting.append((index, corrected))
        while self.waiting and self.waiting[0][0] < index - 1:
            self.scan.put(*self.waiting.pop(0))

    def finish(self) -> None:
        """Writes the file."""
        for index, corrected in self.waiting:
            self.scan.put(index, corrected)
        self.waiting = []
        self.scan.save(self.path)


def _said(error: RuntimeError, path: Path) -> str:
    """The last sentence of what the library says, without where the file lies."""
    lines = [line for line in str(error).replace(os.fspath(path), path.name).splitlines() if line.strip()]
    return flat(lines[-1])[-MOST_SAID:] if lines else type(error).__name__
