"""The header of a derived image: whose it is stays, what it is and how it came to be is said anew."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from ctmar.scans.dicom.elements import Element, Elements, elements_of, items_of, sequence_of
from ctmar.scans.dicom.files import CT_IMAGE, ENHANCED_CT
from ctmar.scans.stack import Derivation

STALE = (
    "IconImageSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
)
"""What described the old pixels, or vouched for them."""
LONGEST_DESCRIPTION = 64
"""Characters of a series description."""
PADDING, ESCAPE = b" \0", b"\x1b"
KANJI = (b"$@", b"$B", b"$(")
"""Escapes to sets of two bytes in the place of ASCII."""


@dataclass
class Identity:
    """What all files of one derived series share.

    Attributes:
        derivation: How the pixels came to be.
        series: Its SeriesInstanceUID.
        study: A StudyInstanceUID for files that have none.
        frame_of_reference: The same for the frame of reference.
        now: When it was made.
    """

    derivation: Derivation
    series: str = ""
    study: str = ""
    frame_of_reference: str = ""
    now: datetime.datetime = field(default_factory=datetime.datetime.now)

    def __post_init__(self) -> None:
        from pydicom.uid import generate_uid

        # Without a prefix: 2.25 and a random UUID, which need no registered root.
        self.series = self.series or generate_uid(prefix=None)
        self.study = self.study or generate_uid(prefix=None)
        self.frame_of_reference = self.frame_of_reference or generate_uid(prefix=None)


def derive(elements: Elements, dataset: Any, identity: Identity) -> tuple[str, str]:
    """Makes the elements of the original, which are changed, those of an image derived from it.

    Patient, study, geometry, rescaling and windows stay; UIDs of image and series, image type, derivation,
    source and equipment are those of the derived image (PS3.3 C.7.6.1, C.12.1, C.7.5.2). What is added is
    ASCII, which every character set holds; what stays are the bytes that came.

    Args:
        elements: Of the original.
        dataset: The same as pydicom reads it.
        identity: Of the derived series.

    Returns:
        Class and UID of the derived image.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or CT_IMAGE)
    source = str(dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID") or "")
    study, series = (str(dataset.get(name) or "") for name in ("StudyInstanceUID", "SeriesInstanceUID"))
    for name in STALE:
        elements.pop(tag_of(name), None)
    new = Dataset()
    new.SOPInstanceUID, new.SeriesInstanceUID = generate_uid(prefix=None), identity.series
    for name, value in (
        ("SOPClassUID", kind),
        ("StudyInstanceUID", identity.study),
        ("FrameOfReferenceUID", identity.frame_of_reference),
    ):
        if not dataset.get(name):
            setattr(new, name, value)
    new.SeriesNumber = 1000 + int(dataset.get("SeriesNumber") or 0)
    new.DerivationDescription = as_ascii(identity.derivation.text)
    new.DerivationCodeSequence = _derivation_codes()
    if source:
        new.SourceImageSequence = [_reference(kind, source)]
    if "PerFrameFunctionalGroupsSequence" in dataset:
        _mark_frames(elements, kind, source)
        if source and study and series:
            new.SourceImageEvidenceSequence = [_evidence(kind, source, study, series)]
    _stamp(new, identity.now)
    _mark_type(elements, "ImageType", kind)
    _describe(elements, len(str(dataset.get("SeriesDescription") or "")), identity)
    equipment = tag_of("ContributingEquipmentSequence")
    added = elements_of(_equipment(identity))
    elements[equipment] = sequence_of([*items_of(elements.get(equipment)), added])
    elements.update(elements_of(new))
    return kind, str(new.SOPInstanceUID)


def tag_of(keyword: str) -> int:
    """The tag of an attribute of the standard."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def as_ascii(text: str) -> str:
    """What any character set can hold of a text."""
    return text.encode("ascii", "replace").decode()


def derived_type(image_type: bytes, kind: str) -> bytes:
    """Derived and secondary, and the rest; an enhanced image is PRIMARY by its definition (C.8.16.1)."""
    rest = image_type.rstrip(PADDING).split(b"\\")[2:] or [b"AXIAL"]
    return b"\\".join([b"DERIVED", b"PRIMARY" if kind in ENHANCED_CT else b"SECONDARY", *rest])


def _mark_type(elements: Elements, keyword: str, kind: str) -> None:
    tag = tag_of(keyword)
    old = elements[tag].value if tag in elements else b""
    elements[tag] = Element("CS", _even(derived_type(old, kind)))


def _describe(elements: Elements, length: int, identity: Identity) -> None:
    """Adds the method to the description, which is shortened where both do not fit."""
    tag = tag_of("SeriesDescription")
    old = elements[tag].value.rstrip(PADDING) if tag in elements else b""
    suffix = f" MAR {as_ascii(identity.derivation.method)}".encode()[:LONGEST_DESCRIPTION]
    room = LONGEST_DESCRIPTION - len(suffix)
    kept = (old if length <= room else shortened(old, room)) or b"CT"
    elements[tag] = Element("LO", _even(kept + _back_to_ascii(kept) + suffix))


def shortened(text: bytes, room: int) -> bytes:
    """The beginning of a text in any character set: whole characters, of at most ``room`` bytes.

    Bytes of one character may look like others, but a space is one in every set.
    """
    if text.isascii() and ESCAPE not in text:
        return text[:room]
    return text[: max(text.rfind(b" ", 0, room + 1), 0)]


def _back_to_ascii(text: bytes) -> bytes:
    """What ends a Japanese set that is still in use at the end of a text."""
    sets = [text[at + 1 : at + 3] for at in range(len(text)) if text[at : at + 1] == ESCAPE]
    in_use = [name for name in sets if name[:1] == b"(" or name in KANJI]
    return b"\x1b(B" if in_use and in_use[-1] in KANJI else b""


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def _stamp(dataset: Any, now: datetime.datetime) -> None:
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    for what in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{what}Date", day)
        setattr(dataset, f"{what}Time", time)


def _mark_frames(elements: Elements, kind: str, source: str) -> None:
    """Says of the frames of a multi-frame image what the image says of itself."""
    from pydicom.dataset import Dataset

    of_frame, of_type = tag_of("DerivationImageSequence"), tag_of("CTImageFrameTypeSequence")
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = items_of(elements.get(tag_of(name)))
        for number, group in enumerate(groups, start=1):
            types = items_of(group.get(of_type))
            for frame_type in types:
                _mark_type(frame_type, "FrameType", kind)
            if types:
                group[of_type] = sequence_of(types)
            group.pop(of_frame, None)
            if name.startswith("PerFrame"):
                derivation = Dataset()
                derivation.DerivationCodeSequence = _derivation_codes()
                if source:
                    reference = _reference(kind, source)
                    reference.ReferencedFrameNumber = number
                    derivation.SourceImageSequence = [reference]
                group[of_frame] = sequence_of([elements_of(derivation)])
        if groups:
            elements[tag_of(name)] = sequence_of(groups)


def _reference(kind: str, instance: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
    item.PurposeOfReferenceCodeSequence = [
        _code("121322", "DCM", "Source image for image processing operation")
    ]
    return item


def _evidence(kind: str, instance: str, study: str, series: str) -> Any:
    """Where the source of a multi-frame image is to be found."""
    from pydicom.dataset import Dataset

    image, of_series, of_study = Dataset(), Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = kind, instance
    of_series.SeriesInstanceUID, of_series.ReferencedSOPSequence = series, [image]
    of_study.StudyInstanceUID, of_study.ReferencedSeriesSequence = study, [of_series]
    return of_study


def _derivation_codes() -> list[Any]:
    """CID 7203 has no code for metal artifacts: what was done to the pixels, and a code of this project."""
    return [
        _code("113042", "DCM", "Pixel by pixel addition"),
        _code("MAR", "99CTMAR", "Metal artifact reduction"),
    ]


def _equipment(identity: Identity) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code("109103", "DCM", "Modifying Equipment")]
    item.Manufacturer = item.ManufacturerModelName = "ctmar"
    item.SoftwareVersions = identity.derivation.version
    item.ContributionDateTime = identity.now.strftime("%Y%m%d%H%M%S.%f")
    item.ContributionDescription = "Metal artifact reduction; not a medical device"
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
