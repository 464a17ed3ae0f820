"""A volume file as a scan: NIfTI byte for byte but for its voxels, NRRD and MetaImage through SimpleITK."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.stack import Derivation, Frame, Sink
from ctmar.stored.slices import Corrected, Image

NIFTI = (".nii.gz", ".nii")
OTHERS = (".nrrd", ".mha")
SUFFIXES = (*NIFTI, *OTHERS)
NIFTI_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
LARGEST_TILT = 45.0


def suffix_of(path: Path) -> str | None:
    """The suffix of a volume file; None for any other name."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


class VolumeScan:
    """A volume of HU in one file, held in memory as it is stored.

    Slices are taken along the axis that lies closest to the patient's, whichever it is in the file.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    Raises:
        CtmarError: Unreadable, not 3D, not one real number a voxel, or no axis along the patient.
    """

    is_dicom = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        try:
            origin, spacing, direction = self._open(path)
        except (RuntimeError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
            if isinstance(error, CtmarError):
                raise
            raise CtmarError(f"{path.name}: must be a readable volume, got {type(error).__name__}") from None
        if not all(math.isfinite(s) and s > 0 for s in spacing):
            raise CtmarError(f"{path.name}: spacing must be positive, got {spacing}")
        # Columns of the direction are the file's axes x, y, z; arrays have them in the order z, y, x.
        upright = np.abs(np.reshape(direction, (3, 3))[2])
        axis = int(np.argmax(upright))
        if upright[axis] < math.cos(math.radians(LARGEST_TILT)):
            raise CtmarError(f"{path.name}: an axis must lie along the patient, got one 45° off or more")
        if axis != 2:
            self.notes.append(f"slices lie across axis {'xyz'[axis]} of the file")
        self.slices = np.moveaxis(self.voxels, 2 - axis, 0)
        in_plane = [spacing[k] for k in (2, 1, 0) if k != axis]
        self.shape = (int(self.slices.shape[1]), int(self.slices.shape[2]))
        self.spacing_mm = (float(in_plane[0]), float(in_plane[1]))
        self.places_mm = tuple(k * float(spacing[axis]) for k in range(len(self.slices)))
        order = [*(k for k in (0, 1, 2) if k != axis), axis]
        columns = np.reshape(direction, (3, 3))[:, order]
        self._frame: Frame = (origin, tuple(spacing[k] for k in order), tuple(columns.ravel()))

    def _open(self, path: Path) -> Frame:
        """Sets ``voxels`` and the rescaling; returns origin, spacing and direction."""
        import SimpleITK as sitk

        self.slope, self.intercept = 1.0, 0.0
        reader = sitk.ImageFileReader()
        reader.SetFileName(os.fspath(path))
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            raise CtmarError(
                f"{path.name}: must be 3D with one value a voxel, got {reader.GetDimension()}D with"
                f" {reader.GetNumberOfComponents()}"
            )
        if suffix_of(path) in NIFTI:
            self._open_nifti(path)
        else:
            self.image = reader.Execute()
            self.voxels = sitk.GetArrayFromImage(self.image)
        if self.voxels.dtype.kind not in "iuf":
            raise CtmarError(f"{path.name}: voxels must be real numbers, got {self.voxels.dtype}")
        return reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection()

    def _open_nifti(self, path: Path) -> None:
        stored = (
            gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()
        )
        self.bytes = bytearray(stored)
        order, kind, start, shape, scaling = _nifti_layout(self.bytes)
        if kind not in NIFTI_TYPES:
            raise CtmarError(f"{path.name}: voxels must be real numbers, got NIfTI type {kind}")
        count = math.prod(shape)
        dtype = np.dtype(order + NIFTI_TYPES[kind])
        if len(stored) < start + count * dtype.itemsize:
            raise CtmarError(f"{path.name}: must hold {count} voxels, got fewer: the file is cut")
        self.voxels = np.frombuffer(self.bytes, dtype, count, start).reshape(shape[::-1])
        if math.isfinite(scaling[0]) and math.isfinite(scaling[1]) and scaling[0] != 0:
            self.slope, self.intercept = scaling

    def read(self, index: int) -> Image:
        """A slice in HU."""
        return np.asarray(self.slices[index] * self.slope + self.intercept, np.float32)

    def frame(self) -> Frame:
        """Where the slices lie, in the order that they are taken in."""
        return self._frame

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
        import SimpleITK as sitk

        suffix = suffix_of(path)
        if suffix == ".nii":
            path.write_bytes(self.bytes)
        elif suffix == ".nii.gz":
            with gzip.open(path, "wb", compresslevel=4) as file:
                file.write(self.bytes)
        else:
            image = sitk.GetImageFromArray(self.voxels)
            image.CopyInformation(self.image)
            for key in self.image.GetMetaDataKeys():
                image.SetMetaData(key, self.image.GetMetaData(key))
            sitk.WriteImage(image, os.fspath(path), useCompression=_is_compressed(self.path))


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


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096).decode("latin-1").lower()
    return "encoding: gz" in head or "compresseddata = true" in head


def _nifti_layout(stored: bytearray) -> tuple[str, int, int, tuple[int, ...], tuple[float, float]]:
    """Byte order, data type, start of the voxels, shape (x, y, z), slope and intercept."""
    for order in "<>":
        for size, dims, kind, start, scaling in (
            (348, (40, "i2"), (70, "i2"), (108, "f4"), (112, "f4")),
            (540, (16, "i8"), (12, "i2"), (168, "i8"), (176, "f8")),
        ):
            if len(stored) < size or int(_numbers(stored, order, 0, "i4", 1)[0]) != size:
                continue
            dim = [int(n) for n in _numbers(stored, order, *dims, 8)]
            shape = tuple(dim[1:4])
            if dim[0] < 3 or min(shape) < 1 or any(n > 1 for n in dim[4 : dim[0] + 1]):
                raise ValueError("no 3D volume")
            slope, intercept = (float(n) for n in _numbers(stored, order, *scaling, 2))
            data_type = int(_numbers(stored, order, *kind, 1)[0])
            return order, data_type, int(_numbers(stored, order, *start, 1)[0]), shape, (slope, intercept)
    raise ValueError("no NIfTI header")


def _numbers(stored: bytearray, order: str, place: int, kind: str, count: int) -> NDArray[Any]:
    return np.frombuffer(stored, order + kind, count, place)
