"""What a derived image says of its origin, in the standard's own attributes: sources, codes, equipment.

Codes are those of PS3.16: CID 7202 (purpose of a source image), 7203 (derivation), 7005 (contributing
equipment). The attributes for metal artifact reduction of CP-2575 are left out: the data dictionaries at hand
do not have them yet.
"""

from typing import Any

from ctmar.scans.dicom.elements import Elements, elements_of, items_of, sequence_of
from ctmar.scans.dicom.tags import PADDING, as_ascii, tag_of
from ctmar.scans.stack import Derivation

SCHEME = "99CTMAR"
"""Of the code that the standard does not have; private ones begin with 99."""
SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
ADDITION = ("113042", "DCM", "Pixel by pixel addition")
REDUCTION = ("MAR", SCHEME, "Metal artifact reduction")
PROCESSING = ("109102", "DCM", "Processing Equipment")
"""Equipment that made new images of others; *modifying* equipment changes images that stay the same ones."""


def add_equipment(elements: Elements, derivation: Derivation, when: str) -> None:
    """Adds this software to the equipment that contributed."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code(*PROCESSING)]
    item.Manufacturer = item.ManufacturerModelName = "ctmar"
    item.SoftwareVersions = derivation.version
    item.ContributionDateTime = when
    item.ContributionDescription = (
        f"Metal artifact reduction by the method {as_ascii(derivation.method)}; not a medical device"
    )
    _append(elements, "ContributingEquipmentSequence", item)


def add_scheme(elements: Elements) -> None:
    """Says whose the private code is."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "Codes of ctmar"
    item.CodingSchemeResponsibleOrganization = "ctmar"
    _append(elements, "CodingSchemeIdentificationSequence", item)


def add_series(elements: Elements, kind: str, instance: str, series: str) -> None:
    """Says in which series of the study the source is, beside other images that are referred to."""
    from pydicom.dataset import Dataset

    image, one = Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = kind, instance
    sequence, series_uid, instances = (
        tag_of(name)
        for name in ("ReferencedSeriesSequence", "SeriesInstanceUID", "ReferencedInstanceSequence")
    )
    items = items_of(elements.get(sequence))
    for item in items:
        if series_uid in item and item[series_uid].value.strip(PADDING) == series.encode():
            item[instances] = sequence_of([*items_of(item.get(instances)), elements_of(image)])
            break
    else:
        one.SeriesInstanceUID, one.ReferencedInstanceSequence = series, [image]
        items.append(elements_of(one))
    elements[sequence] = sequence_of(items)


def reference(kind: str, instance: str) -> Any:
    """The image that another was derived from, pixel by pixel at its place."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
    item.PurposeOfReferenceCodeSequence = [code(*SOURCE_IMAGE)]
    item.SpatialLocationsPreserved = "YES"
    return item


def evidence(kind: str, instance: str, study: str, series: str) -> Any:
    """Where the source of a multi-frame image is to be found."""
    from pydicom.dataset import Dataset

    image, of_series, of_study = Dataset(), Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = kind, instance
    of_series.SeriesInstanceUID, of_series.ReferencedSOPSequence = series, [image]
    of_study.StudyInstanceUID, of_study.ReferencedSeriesSequence = study, [of_series]
    return of_study


def derivation_codes() -> list[Any]:
    """CID 7203 has no code for metal artifacts: what was done to the pixels, and a code of this project."""
    return [code(*ADDITION), code(*REDUCTION)]


def code(value: str, scheme: str, meaning: str) -> Any:
    """A code and its meaning."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _append(elements: Elements, keyword: str, item: Any) -> None:
    tag = tag_of(keyword)
    elements[tag] = sequence_of([*items_of(elements.get(tag)), elements_of(item)])
