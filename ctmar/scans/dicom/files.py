"""Files of a DICOM input, and what their headers say of each slice."""

import logging
import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ctmar.errors import CtmarError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Enhanced CT, and the legacy series converted to it."""
LARGEST_UNZIPPED = 16 * 2**30
MOST_PIXELS = 8192 * 8192
"""Of a slice; more is a broken header."""


PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber")
"""What tells studies without a UID apart."""


class Owner(NamedTuple):
    """Whose a slice is, as the bytes in its header without padding; to compare, never to show."""

    patient: tuple[bytes, ...]
    study: tuple[bytes, ...]
    series: bytes
    frame_of_reference: bytes


@dataclass(frozen=True)
class Header:
    """What is known of one slice without its pixels."""

    path: Path
    frame: int | None
    series: str
    series_number: str
    instance: str
    instance_number: int
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    slope: float
    intercept: float
    kernel: str
    owner: Owner = field(repr=False)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns whatever a broken file raises into one line that names it, and keeps header values out of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            yield
    except (CtmarError, NameError, ImportError, AssertionError):
        raise  # a line for the user already, or a mistake of ours
    except Exception as error:
        raise CtmarError(f"{path.name}: must be readable DICOM, got {type(error).__name__}") from None


def quiet_pydicom() -> None:
    """Pydicom's log quotes header values."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def find_files(source: Path) -> list[Path]:
    """All files of a folder, or the one."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    return [source]


def unzip(archive: Path, folder: Path) -> None:
    """Unpacks a zip; members that would lie outside, and more than 16 GiB, are refused."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not m.is_dir()]
            if sum(m.file_size for m in members) > LARGEST_UNZIPPED:
                raise CtmarError(f"{archive.name}: a zip must unpack to at most 16 GiB, got more")
            for member in members:
                target = (folder / member.filename).resolve()
                if not target.is_relative_to(folder.resolve()):
                    raise CtmarError(
                        f"{archive.name}: files of a zip must lie inside it, got one that does not"
                    )
            packed.extractall(folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise CtmarError(f"{archive.name}: must be a readable zip, got {type(error).__name__}") from None


def read_headers(path: Path) -> tuple[list[Header], str]:
    """The slices that a file holds; or none, and why it is left out.

    Raises:
        CtmarError: A CT image whose header does not say what is needed; the line names the file.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with naming(path):
            try:
                dataset = pydicom.dcmread(path, stop_before_pixels=True)
            except InvalidDicomError:
                return [], "no DICOM"
            left_out = _why_not(dataset)
            return ([], left_out) if left_out else (_slices(dataset, path), "")
    except RecursionError:
        raise CtmarError(f"{path.name}: must be readable DICOM, got sequences without end") from None


def _why_not(dataset: Any) -> str:
    """Why an object is not an image of a CT scan, in a word or two; empty where it is one."""
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    image_type = [str(part).upper() for part in _several(dataset.get("ImageType"))]
    if "LOCALIZER" in image_type:
        return "localizer"
    if kind.startswith("1.2.840.10008.5.1.4.1.1.7"):
        return "secondary capture"
    if kind not in ("", CT_IMAGE, *ENHANCED_CT) or str(dataset.get("Modality")) != "CT":
        return "no CT image"
    return ""


def _slices(dataset: Any, path: Path) -> list[Header]:
    owner = _owner(dataset)
    _check_pixels(dataset, path)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        if int(dataset.get("NumberOfFrames") or 1) != 1:
            raise CtmarError(f"{path.name}: a multi-frame file must have functional groups, got none")
        return [_slice(dataset, path, None, [dataset], owner)]
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(frames) != int(dataset.get("NumberOfFrames") or 0):
        raise CtmarError(
            f"{path.name}: functional groups must be one a frame ({dataset.get('NumberOfFrames')}),"
            f" got {len(frames)}"
        )
    return [
        _slice(
            dataset, path, number, [macro for group in (frame, *shared) for macro in _macros(group)], owner
        )
        for number, frame in enumerate(frames)
    ]


def _macros(group: Any) -> list[Any]:
    """The items of a functional group's sequences, where attributes of a frame are found."""
    return [element.value[0] for element in group if element.VR == "SQ" and len(element.value)]


def _slice(dataset: Any, path: Path, frame: int | None, where: list[Any], owner: Owner) -> Header:
    def first(name: str) -> Any:
        return next((item.get(name) for item in where if item.get(name) not in (None, "")), None)

    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    if slope is None or intercept is None:
        raise CtmarError(f"{path.name}: RescaleSlope and RescaleIntercept must be stated, got none")
    unit = str(first("RescaleType") or "HU").upper()
    if unit not in ("HU", "HU_MOD", "US"):
        raise CtmarError(f"{path.name}: pixels must be in HU, got RescaleType {unit[:16]!r}")
    (scale,), (offset,) = (
        _floats(value, 1, name, path)
        for value, name in ((slope, "RescaleSlope"), (intercept, "RescaleIntercept"))
    )
    if scale == 0:
        raise CtmarError(f"{path.name}: RescaleSlope must not be 0")
    spacing = _floats(first("PixelSpacing"), 2, "PixelSpacing", path)
    if min(spacing) <= 0:
        raise CtmarError(f"{path.name}: PixelSpacing must be positive, got {_short(spacing)}")
    position, orientation = first("ImagePositionPatient"), first("ImageOrientationPatient")
    instance = dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID") or ""
    return Header(
        path=path,
        frame=frame,
        series=str(dataset.get("SeriesInstanceUID") or ""),
        series_number=str(dataset.get("SeriesNumber") if dataset.get("SeriesNumber") is not None else ""),
        instance=str(instance),
        instance_number=int(dataset.get("InstanceNumber") or 0) if frame is None else frame,
        shape=(int(dataset.Rows), int(dataset.Columns)),
        spacing_mm=(spacing[0], spacing[1]),
        position=None if position is None else _floats(position, 3, "ImagePositionPatient", path),
        orientation=None if orientation is None else _floats(orientation, 6, "ImageOrientationPatient", path),
        slope=scale,
        intercept=offset,
        kernel=" ".join(str(part) for part in _several(first("ConvolutionKernel"))),
        owner=owner,
    )


def _owner(dataset: Any) -> Owner:
    """Before anything is decoded: other bytes are another patient, padding aside."""

    def raw(name: str) -> bytes:
        value = dataset.get_item(name).value if name in dataset else b""
        return (value if isinstance(value, bytes) else str(value or "").encode()).strip(b" \0")

    uid, series = raw("StudyInstanceUID"), raw("SeriesInstanceUID")
    return Owner(
        patient=tuple(map(raw, PATIENT)),
        study=(uid,) if uid else tuple(map(raw, STUDY)),
        series=series or raw("SeriesDescription"),
        frame_of_reference=raw("FrameOfReferenceUID"),
    )


def _check_pixels(dataset: Any, path: Path) -> None:
    wanted = {
        "SamplesPerPixel": (1,),
        "PhotometricInterpretation": ("MONOCHROME2",),
        "BitsAllocated": (8, 16, 32),
        "PixelRepresentation": (0, 1),
    }
    for name, allowed in wanted.items():
        value = dataset.get(name)
        if value not in allowed:
            raise CtmarError(f"{path.name}: {name} must be {' or '.join(map(str, allowed))}, got {value!r}")
    allocated, stored, high = (
        int(dataset.get(name) or 0) for name in ("BitsAllocated", "BitsStored", "HighBit")
    )
    if not 0 < stored <= allocated or high != stored - 1:
        raise CtmarError(
            f"{path.name}: BitsStored must be 1 to {allocated} and HighBit one less, got {stored} and {high}"
        )
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if min(rows, columns) < 1 or rows * columns > MOST_PIXELS:
        raise CtmarError(f"{path.name}: Rows and Columns must be 1 to 8192, got {rows} and {columns}")


def _floats(value: Any, count: int, name: str, path: Path) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in _several(value))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise CtmarError(
            f"{path.name}: {name} must be {count} finite numbers, got {_short(numbers) or 'none'}"
        )
    return numbers


def _several(value: Any) -> list[Any]:
    if value is None or isinstance(value, (str, bytes)):
        return [] if not value else [value]
    try:
        return list(value)
    except TypeError:
        return [value]


def _short(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
