"""The metal as a DICOM segmentation, by highdicom."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ctmar
from ctmar.errors import CtmarError
from ctmar.scans.dicom.elements import PIXEL_DATA, Element, elements_of, read_elements, write_elements
from ctmar.scans.dicom.scan import DicomScan
from ctmar.scans.dicom.series import SAME_PLACE_MM
from ctmar.scans.dicom.tags import tag_of

NAME = "metal_seg.dcm"
CHARACTER_SET = 0x00080005
PATIENT_GROUP = 0x0010
PATIENT_AND_STUDY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence", "StudyID"),
    *("ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "StudyDescription"),
    *(
        "ConsultingPhysicianName",
        "PhysiciansOfRecord",
        "ProcedureCodeSequence",
        "AdmittingDiagnosesDescription",
    ),
    *("AdmittingDiagnosesCodeSequence", "NameOfPhysiciansReadingStudy", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName"),
    *("ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName"),
    *("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID"),
    "ClinicalTrialTimePointDescription",
)
"""What a segmentation says of patient and study beside group 0010 (PS3.3, A.51.3), none of it changed."""
BLANK = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""Must be there, and may be empty (type 2)."""


def check_segmentable(scan: DicomScan) -> None:
    """Refuses what no segmentation can be made of, before anything is computed.

    Raises:
        CtmarError: highdicom is not installed; a multi-frame file; a slice without a place of its own.
    """
    require_highdicom()
    first = scan.headers[0]
    if first.frame is not None:
        raise CtmarError(
            f"{first.name}: seg needs a series of single slices, got a multi-frame file; leave out --also seg"
        )
    for header in scan.headers:
        for keyword, value in (
            ("ImagePositionPatient", header.position),
            ("ImageOrientationPatient", header.orientation),
        ):
            if value is None:
                raise CtmarError(f"{header.name}: seg needs {keyword}, got none; leave out --also seg")
    for before, header, step in zip(scan.headers, scan.headers[1:], np.diff(scan.places_mm), strict=False):
        if abs(step) < SAME_PLACE_MM:
            raise CtmarError(
                f"{header.name}: seg needs slices at places of their own, got that of {before.name}; leave"
                " out --also seg"
            )


def write_segmentation(folder: Path, scan: DicomScan, masks: Mapping[int, NDArray[np.uint8]]) -> None:
    """Writes ``metal_seg.dcm`` beside the derived series that lies in ``folder``, which it refers to.

    The library is given places and UIDs alone. What it must say of patient and study is put in as the bytes
    that came, whatever they are; what is not there is empty.

    Args:
        folder: Holds the derived series, a file a slice.
        scan: The scan.
        masks: Metal of each slice with any, as ``np.packbits`` makes it.
    """
    import pydicom

    files = {index: folder / f"ct_{index + 1:04d}.dcm" for index in sorted(masks)}
    pixels = np.prod(scan.shape)
    masked = np.stack([np.unpackbits(masks[k])[:pixels].reshape(scan.shape) for k in files]).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        read = {k: pydicom.dcmread(path, stop_before_pixels=True) for k, path in files.items()}
        segmentation = _segmentation([_bare(scan, one) for k, one in read.items()], masked)
        first = next(iter(files))
        _write(segmentation, files[first], read[first], folder / NAME)


def _bare(scan: DicomScan, derived: Any) -> Any:
    """A slice of the derived series without all that is the patient's."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(bare, keyword, derived.get(keyword))
    for keyword in BLANK:
        setattr(bare, keyword, "")
    bare.FrameOfReferenceUID, bare.Modality = derived.get("FrameOfReferenceUID"), "CT"
    bare.Rows, bare.Columns = scan.shape
    steps = np.abs(np.diff(scan.places_mm))
    bare.PixelSpacing = list(scan.spacing_mm)
    bare.SliceThickness = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    bare.ImagePositionPatient = derived.ImagePositionPatient
    bare.ImageOrientationPatient = derived.ImageOrientationPatient
    return bare


def _segmentation(sources: list[Any], masks: NDArray[np.uint8]) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Metal",
        segmented_property_category=codes.SCT.PhysicalObject,
        segmented_property_type=hd.sr.CodedConcept("40388003", "SCT", "Implant"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="ctmar", version=ctmar.__version__, family=codes.DCM.HistogramAnalysis
        ),
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=generate_uid(prefix=None),
        series_number=2000,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="ctmar",
        manufacturer_model_name="ctmar",
        software_versions=ctmar.__version__,
        device_serial_number="0",
        series_description="Metal",
        specific_character_set=None,
    )


def _write(segmentation: Any, source: Path, read: Any, path: Path) -> None:
    """Writes it with what its source says of patient and study."""
    elements, original = elements_of(segmentation), read_elements(source, read, source.name)
    elements[PIXEL_DATA] = Element("OB", segmentation.PixelData)
    wanted = {CHARACTER_SET, *map(tag_of, PATIENT_AND_STUDY)}
    copied = {tag: e for tag, e in original.items() if tag in wanted or tag >> 16 == PATIENT_GROUP}
    write_elements(elements | copied, segmentation.file_meta, path)


def require_highdicom() -> None:
    """Says which extra is missing, before a scan is read."""
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        raise CtmarError("seg needs highdicom: pip install 'ctmar[seg]'")
