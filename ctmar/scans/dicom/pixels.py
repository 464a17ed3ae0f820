"""Stored pixel values of a DICOM image, from any transfer syntax that can be read here."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

RLE = "1.2.840.10008.1.2.5"
JPEGS = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
"""Decoded by GDCM inside SimpleITK, which has a decoder for each of them."""
SHAPING = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def stored_pixels(dataset: Any, frame: int | None, path: Path) -> NDArray[np.integer]:
    """Stored values ``(row, column)`` of a frame, or of a single-frame image, in the file's own type.

    Args:
        dataset: The whole dataset, with its pixels.
        frame: Number of the frame from 0; None for a single-frame image.
        path: Its file, for messages.

    Raises:
        CtmarError: No or too few pixels, an unknown transfer syntax, bits set above BitsStored.
    """
    if "PixelData" not in dataset:
        raise CtmarError(f"{path.name}: PixelData must be there, got none")
    syntax = dataset.file_meta.TransferSyntaxUID
    number, count = frame or 0, int(dataset.get("NumberOfFrames") or 1)
    if syntax in JPEGS:
        values = _decoded(dataset, number, count, path)
    elif syntax == RLE:
        from pydicom.pixels import pixel_array

        values = pixel_array(dataset, index=number, raw=True)
    elif syntax.is_encapsulated:
        raise CtmarError(f"{path.name}: the transfer syntax must be one that is read here, got {syntax.name}")
    else:
        values = _plain(dataset, number, path)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise CtmarError(
            f"{path.name}: pixels must be {dataset.Rows} x {dataset.Columns}, got {values.shape}"
        )
    return in_range(values, int(dataset.BitsStored), path)


def pixel_type(dataset: Any, order: str = "<") -> np.dtype[Any]:
    """The type of uncompressed pixels."""
    return np.dtype(f"{order}{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")


def in_range(values: NDArray[np.integer], bits: int, path: Path) -> NDArray[np.integer]:
    """The values with the sign of ``bits`` bits; refused where an unsigned one needs more."""
    spare = 8 * values.dtype.itemsize - bits
    if not spare:
        return values
    signed: NDArray[np.integer] = (values << spare) >> spare
    if values.dtype.kind == "u" and not np.array_equal(signed, values):
        raise CtmarError(f"{path.name}: pixels must fit into BitsStored ({bits}), got larger ones")
    return signed


def _plain(dataset: Any, number: int, path: Path) -> NDArray[np.integer]:
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    kind = pixel_type(dataset, "<" if little else ">")
    pixels = dataset.Rows * dataset.Columns
    stored = dataset.PixelData
    if dataset["PixelData"].VR == "OW" and not little and kind.itemsize == 1:
        stored = np.frombuffer(stored, "<u2").byteswap().tobytes()  # bytes travel in big-endian pairs
    if len(stored) < (number + 1) * pixels * kind.itemsize:
        raise CtmarError(f"{path.name}: pixels must be {dataset.Rows} x {dataset.Columns}, got fewer")
    values = np.frombuffer(stored, kind, pixels, number * pixels * kind.itemsize)
    return values.reshape(dataset.Rows, dataset.Columns).astype(kind.newbyteorder("<"))


def _decoded(dataset: Any, number: int, count: int, path: Path) -> NDArray[np.integer]:
    """One frame through a file that holds nothing but the frame: no patient, no rescaling."""
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.uid import generate_uid

    only = Dataset()
    for name in SHAPING:
        setattr(only, name, dataset.get(name))
    only.SOPClassUID, only.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
    only.PixelData = encapsulate([get_frame(dataset.PixelData, number, number_of_frames=count)])
    only["PixelData"].VR = "OB"
    only.file_meta = FileMetaDataset()
    only.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory(prefix="ctmar-") as folder:
        one = Path(folder) / "frame.dcm"
        only.save_as(one, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(one))
        try:
            image = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError:
            kind = JPEGS[dataset.file_meta.TransferSyntaxUID]
            raise CtmarError(f"{path.name}: {kind} pixels must be readable, got broken ones") from None
    if image.dtype.kind not in "iu" or image.size != dataset.Rows * dataset.Columns:
        raise CtmarError(f"{path.name}: pixels must be {dataset.Rows} x {dataset.Columns}, got others")
    return np.asarray(image.reshape(dataset.Rows, dataset.Columns)).astype(pixel_type(dataset))
