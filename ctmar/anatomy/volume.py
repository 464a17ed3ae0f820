"""Reading CT volumes and their labels: NIfTI, NRRD, MetaImage, or a folder with one DICOM series.

Files are checked by hand where the reader would mend them without a word: NIfTI's library turns a
voxel size of 0 into 1 mm, NaN voxels into 0 HU, and the missing end of a broken file into zeros.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import LEVELS, NAMES, PLAIN, VERTEBRAE, WANTED, to_totalsegmentator
from ctmar.anatomy.masks import body_mask, reaches_border
from ctmar.errors import CtmarError
from ctmar.units import AIR_HU

MIN_VOXELS = 4
"""Shortest axis of a volume that three adjacent slices and their neighbours can be cut from."""
PADDING_HU = -1100.0
"""Values below are padding (commonly -2048 or -3024), not noisy air."""
TRUNCATED_SHARE = 0.01
"""The body counts as cut when more of its outline than this lies on the border of the field of view."""
GRID_TOLERANCE = 1e-3
"""How far labels may lie off the CT's grid, in voxels; directions to the same figure."""


def read_anatomy(
    ct: str | Path, labels: str | Path | None, name: str | None = None, convention: str = "auto"
) -> Anatomy:
    """A CT and its label map on LPS axes; padding and values below -1000 HU become air.

    Args:
        ct: Volume file (``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.mhd``) or DICOM folder, in HU.
        labels: Label map on the CT's grid, a folder with a mask a structure (named as TotalSegmentator names
            them), or None for a CT without labels.
        name: What reports call it; the file's own name where none is given.
        convention: Of the labels, see :func:`ctmar.anatomy.labels.to_totalsegmentator`.

    Raises:
        CtmarError: A missing or unreadable file; no spacing; not 3D or an axis under 4 voxels; NaN
            or infinite voxels; labels of another grid, fractional, or without a vertebra.
    """
    image = _read(Path(ct), "CT")
    raw = _array(image, "CT").astype(np.float32)
    hu = np.maximum(raw, np.float32(AIR_HU))
    ids = np.zeros(hu.shape, np.uint8) if labels is None else _labels(Path(labels), image, convention)
    spacing = image.GetSpacing()
    mask = body_mask(hu, spacing)
    return Anatomy(
        name=name or Path(ct).name.split(".")[0],
        hu=hu,
        labels=ids,
        spacing_mm=spacing,
        origin_mm=image.GetOrigin(),
        direction=image.GetDirection(),
        truncated=reaches_border(mask, raw < PADDING_HU) > TRUNCATED_SHARE,
    )


def write_labels(path: Path, labels: NDArray[np.uint8], anatomy: Anatomy) -> None:
    """Writes a label map ``(z, y, x)`` on the anatomy's grid, where its CT lies; the format by the suffix.

    Raises:
        CtmarError: If the shape is not the anatomy's, or the file cannot be written.
    """
    import SimpleITK as sitk

    if labels.shape != anatomy.hu.shape:
        raise CtmarError(f"labels must have the CT's shape {anatomy.hu.shape}, got {labels.shape}")
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(anatomy.spacing_mm)
    image.SetOrigin(anatomy.origin_mm)
    image.SetDirection(anatomy.direction)
    try:
        sitk.WriteImage(image, os.fspath(path), useCompression=True)
    except RuntimeError as error:
        raise CtmarError(f"labels must be writable, got {path}: {str(error).splitlines()[-1]}") from error


def to_scanner_mm(points_mm: NDArray[np.float64], anatomy: Anatomy) -> NDArray[np.float64]:
    """Points ``(..., 3)`` of the anatomy's frame where they lie in the scanner, LPS."""
    return points_mm @ np.reshape(anatomy.direction, (3, 3)).T + np.asarray(anatomy.origin_mm)


def _labels(path: Path, ct: Any, convention: str) -> NDArray[np.uint8]:
    values = _merged(path, ct) if path.is_dir() else _on_grid(path, ct)
    if not np.array_equal(values, np.round(values)):
        raise CtmarError(f"labels must be whole numbers, got fractions in {path}")
    if convention.startswith(PLAIN):
        values = np.searchsorted(np.unique(values), values)  # 100, 200, … are numbers in turn as well
    if values.min() < 0 or values.max() > 255:
        raise CtmarError(f"labels must lie in 0 to 255, got {values.min():g} to {values.max():g} in {path}")
    ids = to_totalsegmentator(values.astype(np.int16), convention)
    if not np.isin(ids, VERTEBRAE).any():
        found = ", ".join(str(int(i)) for i in np.unique(ids)[:12]) or "none"
        raise CtmarError(
            f"labels must hold a vertebra ({LEVELS[0]} to {LEVELS[-1]}; {WANTED}), got ids {found} in {path}"
        )
    return ids


def _on_grid(path: Path, ct: Any) -> NDArray[Any]:
    image = _read(path, "labels")
    _same_grid(image, ct)
    return _array(image, "labels")


def _merged(folder: Path, ct: Any) -> NDArray[np.uint8]:
    """One label map of a folder with a mask a structure, as TotalSegmentator's data set has them."""
    merged = np.zeros(ct.GetSize()[::-1], np.uint8)
    for name, number in NAMES.items():
        path = folder / f"{name}.nii.gz"
        if path.is_file():
            merged[_on_grid(path, ct) > 0] = number
    return merged


def _same_grid(labels: Any, ct: Any) -> None:
    """Both images are on LPS axes already, so a volume stored flipped is no other grid."""
    if labels.GetSize() != ct.GetSize():
        raise CtmarError(f"labels must have the CT's shape {ct.GetSize()}, got {labels.GetSize()}")
    spacing = np.asarray(ct.GetSpacing())
    for what, got, wanted, scale in (
        ("spacing", labels.GetSpacing(), spacing, spacing / max(ct.GetSize())),
        ("origin", labels.GetOrigin(), ct.GetOrigin(), spacing),
        ("direction", labels.GetDirection(), ct.GetDirection(), 1.0),
    ):
        # Label files are often written in single precision: the origin gets a hundredth of a voxel.
        tolerance = GRID_TOLERANCE * (10 if what == "origin" else 1) * np.asarray(scale)
        if (np.abs(np.asarray(got) - np.asarray(wanted)) > np.maximum(tolerance, 1e-4)).any():
            raise CtmarError(f"labels must have the CT's {what} {_short(wanted)}, got {_short(got)}")


def _short(values: Any) -> str:
    return "(" + ", ".join(f"{float(v):.6g}" for v in values) + ")"


def _array(image: Any, what: str) -> NDArray[Any]:
    import SimpleITK as sitk

    values = np.asarray(sitk.GetArrayFromImage(image))
    _check_finite(values, what)
    return values


def _check_finite(values: NDArray[Any], what: str) -> None:
    bad = 0 if values.dtype.kind in "iub" else int((~np.isfinite(values)).sum())
    if bad:
        raise CtmarError(f"{what} must be finite, got {bad} NaN or infinite voxels")


def _read(path: Path, what: str) -> Any:
    """The image on LPS axes, its shape and header checked."""
    import SimpleITK as sitk

    if not path.exists():
        raise CtmarError(f"{what} must be a file or a DICOM folder, got {path}, which does not exist")
    try:
        image = _read_series(path) if path.is_dir() else _read_file(path, what)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CtmarError(f"{what} must be a readable volume, got {path}: {lines[-1]}") from error
    if image.GetDimension() != 3:
        raise CtmarError(f"{what} must be 3D, got {image.GetDimension()}D in {path}")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise CtmarError(f"{what} must have one value a voxel, got colours or vectors in {path}")
    if min(image.GetSize()) < MIN_VOXELS:
        raise CtmarError(f"{what} must have at least {MIN_VOXELS} voxels an axis, got {image.GetSize()}")
    _check_spacing(image.GetSpacing(), what)
    return sitk.DICOMOrient(image, "LPS")


def _check_spacing(spacing: Any, what: str) -> None:
    values = [float(s) for s in spacing]
    if not all(np.isfinite(s) and s > 0 for s in values):
        raise CtmarError(f"{what} spacing must be positive, got {_short(values)}")


def _read_file(path: Path, what: str) -> Any:
    import SimpleITK as sitk

    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti(path, what)
    else:
        _check_stated(path, what)
    return sitk.ReadImage(os.fspath(path))


_SPACING_KEYS = {
    ".nrrd": ("space directions", "spacings"),
    ".nhdr": ("space directions", "spacings"),
    ".mha": ("elementspacing", "elementsize"),
    ".mhd": ("elementspacing", "elementsize"),
}


def _check_stated(path: Path, what: str) -> None:
    """NRRD and MetaImage: the header has to state the spacing, or the reader makes it 1 mm."""
    wanted = _SPACING_KEYS.get(path.suffix.lower(), ())
    with path.open("rb") as file:
        head = file.read(8192).decode("latin-1").lower()
    stated = [line for line in head.splitlines() if line.split(":")[0].split("=")[0].strip() in wanted]
    if wanted and not stated:
        raise CtmarError(f"{what} spacing must be in the header, got none in {path}")


_NIFTI_FLOATS = {16: "f4", 64: "f8"}


def _check_nifti(path: Path, what: str) -> None:
    """Voxel sizes, length and finite values of a NIfTI-1 or -2 file as stored."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            stored = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise RuntimeError(f"broken or no NIfTI file ({error})") from error
    order, (dims, kind, sizes, offset) = _nifti_layout(stored)
    shape = [int(n) for n in _fields(stored, order, dims, 8)]
    _check_spacing(_fields(stored, order, sizes, 8)[1:4], what)
    code, bits = (int(n) for n in _fields(stored, order, kind, 2))
    start, count = int(_fields(stored, order, offset, 1)[0]), math.prod(shape[1 : shape[0] + 1])
    if len(stored) < start + count * bits // 8:
        raise RuntimeError("the file ends before its last voxel")
    if code in _NIFTI_FLOATS:
        _check_finite(np.frombuffer(stored, order + _NIFTI_FLOATS[code], count, start), what)


def _nifti_layout(stored: bytes) -> tuple[str, tuple[str, str, str, str]]:
    """Byte order, and where dim, datatype, pixdim and vox_offset stand (nifti1.h, nifti2.h)."""
    layouts = {348: ("40h", "70h", "76f", "108f"), 540: ("16q", "12h", "104d", "168q")}
    for order in "<>":
        for size, places in layouts.items():
            if len(stored) >= size and struct.unpack_from(order + "i", stored)[0] == size:
                return order, places
    raise RuntimeError("not a NIfTI file (its header has no valid size)")


def _fields(stored: bytes, order: str, place: str, count: int) -> tuple[float, ...]:
    """``count`` numbers at ``place``: an offset and a type letter, such as ``80f``."""
    return struct.unpack_from(f"{order}{count}{place[-1]}", stored, int(place[:-1]))


def _read_series(folder: Path) -> Any:
    import SimpleITK as sitk

    # A blank SeriesInstanceUID, as anonymisers leave it, is a series like another.
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(os.fspath(folder))
    if len(series) != 1:
        raise CtmarError(f"CT folder must hold one DICOM series, got {len(series)} in {folder}")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(os.fspath(folder), series[0])
    _check_slices(files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    return reader.Execute()


def _check_slices(files: tuple[str, ...]) -> None:
    """Pixel spacing stated, slices evenly spaced: the reader would pass over a missing slice."""
    import SimpleITK as sitk

    positions = []
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetFileName(file)
        reader.ReadImageInformation()
        if not reader.HasMetaDataKey("0028|0030"):
            raise CtmarError(f"CT spacing must be in the header, got no PixelSpacing in {file}")
        positions.append(reader.GetOrigin())
    steps = np.linalg.norm(np.diff(np.asarray(positions), axis=0), axis=1)
    if steps.size and steps.max() - steps.min() > 0.01 * max(steps.max(), 1e-6) + 1e-3:
        raise CtmarError(f"CT slices must be evenly spaced, got {_short((steps.min(), steps.max()))} mm")
