"""The header of a derived image: whose it is stays, what it is and how it came to be is said anew."""

import datetime
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ctmar.scans.dicom.elements import Element, Elements, elements_of, items_of, sequence_of
from ctmar.scans.dicom.headers import CT_IMAGE, ENHANCED_CT, series_of
from ctmar.scans.dicom.origin import (
    add_equipment,
    add_scheme,
    add_series,
    derivation_codes,
    evidence,
    reference,
)
from ctmar.scans.dicom.tags import PADDING, as_ascii, even, tag_of
from ctmar.scans.dicom.windows import add_presets
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
NUMBERED_FROM, LARGEST_NUMBER = 1000, 2**31 - 1
ESCAPE = b"\x1b"
SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
DERIVATION, FRAME_TYPE, WINDOWS = "DerivationImageSequence", "CTImageFrameTypeSequence", "FrameVOILUTSequence"
"""What groups of frames say of how they came to be, of their kind, and of how to look at them."""
KANJI = (b"$@", b"$B", b"$(")
"""Escapes to sets of two bytes in the place of ASCII."""


@dataclass
class Identity:
    """What all files of one derived series share.

    Attributes:
        derivation: How the pixels came to be.
        source: SeriesInstanceUID of the original, which repeatable UIDs follow from.
        now: When it was made.
        series: Its SeriesInstanceUID.
        study: A StudyInstanceUID for files that have none.
        frame_of_reference: The same for the frame of reference.
    """

    derivation: Derivation
    source: str = ""
    now: datetime.datetime = field(default_factory=datetime.datetime.now)
    series: str = field(init=False)
    study: str = field(init=False)
    frame_of_reference: str = field(init=False)

    def __post_init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self.series, self.study, self.frame_of_reference = map(self._uid, ("series", "study", "frame"))

    def instance(self, source: str) -> str:
        """The UID of the image derived from one of that UID; another one if there are two of it."""
        self._seen[source] += 1
        return self._uid(f"image {self._seen[source]} {source}") if source else self._uid("")

    def _uid(self, what: str) -> str:
        """2.25 and a UUID, which need no registered root (PS3.5, B.2)."""
        if not (self.derivation.repeatable and self.source and what):
            return f"2.25.{uuid.uuid4().int}"
        name = "\n".join(("ctmar", self.source, self.derivation.method, what))
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def derive(elements: Elements, dataset: Any, identity: Identity) -> tuple[str, str]:
    """Makes the elements of the original, which are changed, those of an image derived from it.

    Patient, study, scanner, geometry and rescaling stay, and so do windows, with two more. UIDs of image and
    series, image type, derivation, source and contributing equipment are those of the derived image (PS3.3
    C.7.6.1, C.12.1, C.12.2). What is added is ASCII, which every character set holds; what stays are the
    bytes that came.

    Args:
        elements: Of the original.
        dataset: The same as pydicom reads it.
        identity: Of the derived series.

    Returns:
        Class and UID of the derived image.
    """
    from pydicom.dataset import Dataset

    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or CT_IMAGE)
    source = str(dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID") or "")
    study, series = (str(dataset.get(name) or "") for name in ("StudyInstanceUID", "SeriesInstanceUID"))
    for name in STALE:
        elements.pop(tag_of(name), None)
    new = Dataset()
    new.SOPInstanceUID, new.SeriesInstanceUID = identity.instance(source), identity.series
    for name, value in (
        ("SOPClassUID", kind),
        ("StudyInstanceUID", identity.study),
        ("FrameOfReferenceUID", identity.frame_of_reference),
    ):
        if not dataset.get(name):
            setattr(new, name, value)
    new.SeriesNumber = derived_number(series_of(dataset)[1])
    new.DerivationDescription = as_ascii(identity.derivation.text)
    new.DerivationCodeSequence = derivation_codes()
    if source:
        new.SourceImageSequence = [reference(kind, source)]
    if source and series:
        add_series(elements, kind, source, series)
    if PER_FRAME in dataset:
        _mark_frames(elements, kind, source)
        if source and study and series:
            new.SourceImageEvidenceSequence = [evidence(kind, source, study, series)]
    else:
        add_presets(elements)
    _stamp(new, identity.now)
    _mark_type(elements, "ImageType", kind)
    _describe(elements, len(str(dataset.get("SeriesDescription") or "")), identity)
    add_equipment(elements, identity.derivation, identity.now.strftime("%Y%m%d%H%M%S.%f"))
    add_scheme(elements)
    elements.update(elements_of(new))
    return kind, str(new.SOPInstanceUID)


def derived_number(series_number: str) -> int:
    """A thousand above the original's, where that is a number and both fit into 32 bits."""
    number = int(series_number) if series_number.lstrip("+-").isdecimal() else 0
    return NUMBERED_FROM + number if abs(number) <= LARGEST_NUMBER - NUMBERED_FROM else NUMBERED_FROM


def derived_type(image_type: bytes, kind: str) -> bytes:
    """Derived and secondary, and the rest; an enhanced image is PRIMARY by its definition (C.8.16.1)."""
    rest = image_type.rstrip(PADDING).split(b"\\")[2:] or [b"AXIAL"]
    return b"\\".join([b"DERIVED", b"PRIMARY" if kind in ENHANCED_CT else b"SECONDARY", *rest])


def _mark_type(elements: Elements, keyword: str, kind: str) -> None:
    tag = tag_of(keyword)
    old = elements[tag].value if tag in elements else b""
    elements[tag] = Element("CS", even(derived_type(old, kind)))


def _describe(elements: Elements, length: int, identity: Identity) -> None:
    """Adds the method to the description, which is shortened where both do not fit."""
    tag = tag_of("SeriesDescription")
    old = elements[tag].value.rstrip(PADDING) if tag in elements else b""
    suffix = f" MAR {as_ascii(identity.derivation.method)}".encode()[:LONGEST_DESCRIPTION]
    room = LONGEST_DESCRIPTION - len(suffix)
    kept = (old if length <= room else shortened(old, room)) or b"CT"
    elements[tag] = Element("LO", even(kept + _back_to_ascii(kept) + suffix))


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


def _stamp(dataset: Any, now: datetime.datetime) -> None:
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    for what in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{what}Date", day)
        setattr(dataset, f"{what}Time", time)


def _mark_frames(elements: Elements, kind: str, source: str) -> None:
    """Says of the frames of a multi-frame image what the image says of itself."""
    groups = {tag_of(name): items_of(elements.get(tag_of(name))) for name in (SHARED, PER_FRAME)}
    shared, frames = groups.values()
    if shared and not any(tag_of(WINDOWS) in group for group in [*shared, *frames]):
        shared[0][tag_of(WINDOWS)] = sequence_of([{}])
    for group in [*shared, *frames]:
        group.pop(tag_of(DERIVATION), None)
        _change_items(group, FRAME_TYPE, lambda item: _mark_type(item, "FrameType", kind))
        _change_items(group, WINDOWS, add_presets)
    for number, group in enumerate(frames, start=1):
        group[tag_of(DERIVATION)] = sequence_of([elements_of(_derivation(kind, source, number))])
    elements |= {tag: sequence_of(items) for tag, items in groups.items() if items}


def _change_items(group: Elements, keyword: str, change: Callable[[Elements], None]) -> None:
    items = items_of(group.get(tag_of(keyword)))
    for item in items:
        change(item)
    if items:
        group[tag_of(keyword)] = sequence_of(items)


def _derivation(kind: str, source: str, frame: int) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.DerivationCodeSequence = derivation_codes()
    if source:
        image = reference(kind, source)
        image.ReferencedFrameNumber = frame
        item.SourceImageSequence = [image]
    return item
