"""Small CT series as scanners write them, and as they reach a reader."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.stored_images import SPACING_MM

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY, SERIES, FRAME = (generate_uid(entropy_srcs=[name]) for name in ("study", "series", "frame"))


def ct_slice(hu: np.ndarray, index: int = 0, step_mm: float = 2.0, slope: float = 1.0) -> Dataset:
    """A CT image that a validator accepts: 12 bits, intercept -1024, an invented patient."""
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[f"slice {index}"])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, SERIES, FRAME
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20240102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "101112"
    dataset.Modality, dataset.Manufacturer, dataset.StudyDescription = "CT", "Test", "Spine"
    dataset.PatientName, dataset.PatientID = "Nobody^Secret", "SECRET-ID-123"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientPosition = "19700101", "O", "HFS"
    dataset.AccessionNumber = dataset.StudyID = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 3, index + 1, 1
    dataset.SeriesDescription, dataset.PositionReferenceIndicator = "Spine 2.0", ""
    dataset.KVP, dataset.SliceThickness, dataset.ConvolutionKernel = 120, step_mm, "B40"
    dataset.ImagePositionPatient = [-100.0, -100.0, index * step_mm]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [SPACING_MM, SPACING_MM]
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, slope, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = np.rint((hu + 1024) / slope).clip(0, 4095).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CT_IMAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def write_series(
    folder: Path, volume: np.ndarray, change: Callable[[Dataset, int], Any] | None = None, **options: Any
) -> list[Path]:
    """Writes a volume ``(slice, row, column)`` of HU, each dataset after ``change(dataset, index)``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, hu in enumerate(volume):
        dataset = ct_slice(hu, index, **options)
        if change is not None:
            change(dataset, index)
        paths.append(folder / f"image_{index:03d}.dcm")
        write(dataset, paths[-1])
    return paths


def write(dataset: Dataset, path: Path) -> None:
    """Writes in the order and with the representation that the transfer syntax asks for."""
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.save_as(
        path,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=True,
    )


def pixels(path: Path) -> np.ndarray:
    """Stored values of a file, by pydicom."""
    return pydicom.dcmread(path).pixel_array
