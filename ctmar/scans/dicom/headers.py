"""What the header of a DICOM file says of each slice in it, or what keeps it from being one."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ctmar.errors import CtmarError, flat
from ctmar.scans.dicom.files import File, naming
from ctmar.scans.dicom.reading import (
    check_syntax,
    in_short,
    numbers_of,
    read_dataset,
    several,
    value_of,
    whole_number,
)

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Enhanced CT, and the legacy series converted to it."""
MOST_PIXELS = 8192 * 8192
"""Of a slice; more is a broken header."""
PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber")
"""What tells studies without a UID apart."""
MACROS = {
    "PixelSpacing": ("PixelMeasuresSequence",),
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "RescaleType": ("PixelValueTransformationSequence",),
    "ConvolutionKernel": (
        "CTReconstructionSequence",
        "UnassignedPerFrameConvertedAttributesSequence",
        "UnassignedSharedConvertedAttributesSequence",
    ),
}
"""The functional group that holds an attribute of a frame (PS3.3, C.7.6.16.2); of other sequences, as those
of a vendor, it says nothing."""
UNITS = ("HU", "HU_MOD", "US")
OTHER_UNITS = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")
COLOURS = ("MONOCHROME1", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "HSV")
"""What is shown of an element that could hold anything."""


class Owner(NamedTuple):
    """Whose a slice is, as the bytes in its header without padding; to compare, never to show."""

    patient: tuple[bytes, ...]
    study: tuple[bytes, ...]
    series: bytes
    frame_of_reference: bytes


@dataclass(frozen=True)
class Header:
    """What is known of one slice without its pixels."""

    file: File
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

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.file.path

    @property
    def name(self) -> str:
        """What messages call the file."""
        return self.file.name


@dataclass(frozen=True)
class Fault:
    """A file that should hold slices, and why they cannot be taken.

    Attributes:
        file: The file.
        said: A line that names it and what is wrong.
        series: SeriesInstanceUID.
        series_number: Its series' number; None where not even that could be read.
        owner: Whose it is.
    """

    file: File
    said: str
    series: str = ""
    series_number: str | None = None
    owner: Owner | None = field(default=None, repr=False)


class Found(NamedTuple):
    """What a file holds."""

    headers: list[Header]
    left_out: str = ""
    """Why it is none of a scan, in a word or two."""
    fault: Fault | None = None


def read_headers(file: File) -> Found:
    """The slices that a file holds, or why it is left out, or what is wrong with it."""
    dataset = None
    try:
        with naming(file.name):
            dataset = read_dataset(file.path)
            if dataset is None:
                return Found([], "no DICOM")
            left_out = _why_not(dataset, file)
            return Found([], left_out) if left_out else Found(_slices(dataset, file))
    except CtmarError as error:
        return Found([], fault=_fault(file, str(error), dataset))
    except RecursionError:
        said = f"{file.name}: must be readable DICOM, got sequences without end"
        return Found([], fault=Fault(file, said))


def _fault(file: File, said: str, dataset: Any) -> Fault:
    if dataset is None or not ("SeriesInstanceUID" in dataset or "SeriesNumber" in dataset):
        return Fault(file, said)
    try:
        with naming(file.name):
            return Fault(file, said, *series_of(dataset), _owner(dataset))
    except CtmarError:
        return Fault(file, said)


def series_of(dataset: Any) -> tuple[str, str]:
    """UID and number, as text: a short number with letters in it is still a name."""
    number = dataset.get_item("SeriesNumber") if "SeriesNumber" in dataset else None
    value = b"" if number is None else number.value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value if value is not None else "")
    text = text.strip(" \0")
    if re.fullmatch(r"[+-]?\d{1,12}", text):
        text = str(int(text))
    elif not re.fullmatch(r"(?=.*\d)[\w.-]{1,12}", text):
        text = ""
    return str(dataset.get("SeriesInstanceUID") or ""), text


def _why_not(dataset: Any, file: File) -> str:
    """Why an object is not an image of a CT scan, in a word or two; empty where it is one.

    Raises:
        CtmarError: It says to be one and then ends.
    """
    in_meta = str(dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    kind = str(dataset.get("SOPClassUID") or in_meta)
    image_type = [str(part).upper() for part in several(dataset.get("ImageType"))]
    if "LOCALIZER" in image_type:
        return "localizer"
    if kind.startswith("1.2.840.10008.5.1.4.1.1.7"):
        return "secondary capture"
    if "Modality" not in dataset and {kind, in_meta} & {CT_IMAGE, *ENHANCED_CT}:
        raise CtmarError(f"{file.name}: Modality must be CT, got none: the file may be cut")
    if kind not in ("", CT_IMAGE, *ENHANCED_CT) or str(dataset.get("Modality")) != "CT":
        return "no CT image"
    return ""


def _slices(dataset: Any, file: File) -> list[Header]:
    owner = _owner(dataset)
    _check_pixels(dataset, file)
    check_syntax(dataset, file)
    frames_said = whole_number(dataset, "NumberOfFrames", file)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        if (frames_said or 1) != 1:
            raise CtmarError(f"{file.name}: a multi-frame file must have functional groups, got none")
        return [_slice(dataset, file, None, [], owner)]
    shared = list(value_of(dataset, "SharedFunctionalGroupsSequence", file) or [])
    frames = list(value_of(dataset, "PerFrameFunctionalGroupsSequence", file) or [])
    if len(frames) != (frames_said or 0):
        raise CtmarError(
            f"{file.name}: functional groups must be one a frame ({frames_said}), got {len(frames)}"
        )
    return [_slice(dataset, file, number, [frame, *shared], owner) for number, frame in enumerate(frames)]


def _slice(dataset: Any, file: File, frame: int | None, groups: list[Any], owner: Owner) -> Header:
    def first(name: str) -> Any:
        if frame is None:
            return value_of(dataset, name, file)
        for group in groups:
            for macro in MACROS[name]:
                items = value_of(group, macro, file)
                value = value_of(items[0], name, file) if items else None
                if value is not None:
                    return value
        return None

    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    if slope is None or intercept is None:
        raise CtmarError(f"{file.name}: RescaleSlope and RescaleIntercept must be stated, got none")
    unit = str(first("RescaleType") or "HU").strip().upper()
    if unit not in UNITS:
        raise CtmarError(
            f"{file.name}: pixels must be in HU, got RescaleType"
            f" {repr(unit) if unit in OTHER_UNITS else 'of another kind'}"
        )
    (scale,), (offset,) = (
        numbers_of(value, 1, name, file)
        for value, name in ((slope, "RescaleSlope"), (intercept, "RescaleIntercept"))
    )
    if scale == 0:
        raise CtmarError(f"{file.name}: RescaleSlope must not be 0")
    spacing = numbers_of(first("PixelSpacing"), 2, "PixelSpacing", file)
    if min(spacing) <= 0:
        raise CtmarError(f"{file.name}: PixelSpacing must be positive, got {in_short(spacing)}")
    position, orientation = first("ImagePositionPatient"), first("ImageOrientationPatient")
    instance = dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID") or ""
    series, series_number = series_of(dataset)
    return Header(
        file=file,
        frame=frame,
        series=series,
        series_number=series_number,
        instance=str(instance),
        instance_number=_instance_number(dataset, file, position) if frame is None else frame,
        shape=(int(dataset.Rows), int(dataset.Columns)),
        spacing_mm=(spacing[0], spacing[1]),
        position=None if position is None else numbers_of(position, 3, "ImagePositionPatient", file),
        orientation=None
        if orientation is None
        else numbers_of(orientation, 6, "ImageOrientationPatient", file),
        slope=scale,
        intercept=offset,
        kernel=flat(" ".join(str(part) for part in several(first("ConvolutionKernel")))),
        owner=owner,
    )


def _instance_number(dataset: Any, file: File, position: Any) -> int:
    """Orders slices without a position; of the others one that is no number is as good as none."""
    try:
        return whole_number(dataset, "InstanceNumber", file) or 0
    except CtmarError as error:
        if position is None:
            raise CtmarError(f"{error}, and without ImagePositionPatient nothing else orders") from None
        return 0


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


def _check_pixels(dataset: Any, file: File) -> None:
    wanted = {"SamplesPerPixel": (1,), "BitsAllocated": (8, 16, 32), "PixelRepresentation": (0, 1)}
    for name, allowed in wanted.items():
        value = whole_number(dataset, name, file)
        if value not in allowed:
            raise CtmarError(
                f"{file.name}: {name} must be {' or '.join(map(str, allowed))}, got {_or_none(value)}"
            )
    kind = value_of(dataset, "PhotometricInterpretation", file)
    if kind != "MONOCHROME2":
        got = kind if kind in COLOURS else "none" if kind is None else "another"
        raise CtmarError(f"{file.name}: PhotometricInterpretation must be MONOCHROME2, got {got}")
    allocated, stored, high, rows, columns = (
        whole_number(dataset, name, file) or 0
        for name in ("BitsAllocated", "BitsStored", "HighBit", "Rows", "Columns")
    )
    if not 0 < stored <= allocated or high != stored - 1:
        raise CtmarError(
            f"{file.name}: BitsStored must be 1 to {allocated} and HighBit one less, got {stored} and {high}"
        )
    if min(rows, columns) < 1 or rows * columns > MOST_PIXELS:
        raise CtmarError(f"{file.name}: Rows and Columns must be 1 to 8192, got {rows} and {columns}")


def _or_none(value: int | None) -> str:
    return "none" if value is None else str(value)
