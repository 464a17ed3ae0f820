"""The header of a derived image: whose it is stays, what it is and how it came to be is said anew."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from ctmar.clinical.dicom_files import CT_IMAGE, ENHANCED_CT
from ctmar.clinical.scan import Derivation

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


def derive(dataset: Any, identity: Identity) -> None:
    """Makes the header of the original, which is changed, that of an image derived from it.

    Patient, study, geometry, rescaling and windows stay; UIDs of image and series, image type, derivation,
    source and equipment are those of the derived image (PS3.3 C.7.6.1, C.12.1, C.7.5.2).
    """
    from pydicom.uid import generate_uid

    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or CT_IMAGE)
    source = str(dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID") or "")
    study, series = (str(dataset.get(name) or "") for name in ("StudyInstanceUID", "SeriesInstanceUID"))
    for name in STALE:
        if name in dataset:
            delattr(dataset, name)
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, generate_uid(prefix=None)
    dataset.SeriesInstanceUID = identity.series
    dataset.StudyInstanceUID = dataset.get("StudyInstanceUID") or identity.study
    dataset.FrameOfReferenceUID = dataset.get("FrameOfReferenceUID") or identity.frame_of_reference
    number = dataset.get("SeriesNumber")
    dataset.SeriesNumber = 1000 + int(number or 0)
    name = f"{dataset.get('SeriesDescription') or 'CT'} MAR {identity.derivation.method}"
    dataset.SeriesDescription = name[:64]
    dataset.ImageType = derived_type(dataset.get("ImageType"), kind)
    dataset.DerivationDescription = identity.derivation.text
    dataset.DerivationCodeSequence = _derivation_codes()
    if source:
        dataset.SourceImageSequence = [_reference(kind, source)]
    if "PerFrameFunctionalGroupsSequence" in dataset:
        _mark_frames(dataset, kind, source)
        if source and study and series:
            dataset.SourceImageEvidenceSequence = [_evidence(kind, source, study, series)]
    _stamp(dataset, identity.now)
    equipment = list(dataset.get("ContributingEquipmentSequence") or [])
    dataset.ContributingEquipmentSequence = [*equipment, _equipment(identity)]


def derived_type(image_type: Any, kind: str) -> list[str]:
    """Derived and secondary, and the rest; an enhanced image is PRIMARY by its definition (C.8.16.1)."""
    # A single value comes as a string, several as a sequence, none as None.
    several = image_type is not None and not isinstance(image_type, str)
    rest = [str(part) for part in list(image_type)[2:]] if several else []
    rest = rest or ["AXIAL"]
    return ["DERIVED", "PRIMARY" if kind in ENHANCED_CT else "SECONDARY", *rest]


def _stamp(dataset: Any, now: datetime.datetime) -> None:
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    for what in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{what}Date", day)
        setattr(dataset, f"{what}Time", time)


def _mark_frames(dataset: Any, kind: str, source: str) -> None:
    """Says of the frames of a multi-frame image what the image says of itself."""
    from pydicom.dataset import Dataset

    groups = [*dataset.get("SharedFunctionalGroupsSequence", []), *dataset.PerFrameFunctionalGroupsSequence]
    for group in groups:
        for frame_type in group.get("CTImageFrameTypeSequence", []):
            frame_type.FrameType = derived_type(frame_type.get("FrameType"), kind)
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        derivation = Dataset()
        derivation.DerivationCodeSequence = _derivation_codes()
        if source:
            reference = _reference(kind, source)
            reference.ReferencedFrameNumber = number
            derivation.SourceImageSequence = [reference]
        group.DerivationImageSequence = [derivation]


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
