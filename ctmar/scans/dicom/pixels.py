"""Stored pixel values of a DICOM image, from any transfer syntax that can be read here."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.scans.dicom.files import File
from ctmar.scans.dicom.overlays import overlay_bits
from ctmar.scans.dicom.padding import Padding
from ctmar.scans.dicom.reading import JPEGS, RLE, check_syntax, syntax_of

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


def stored_pixels(dataset: Any, frame: int | None, file: File) -> NDArray[np.integer]:
    """Stored values ``(row, column)`` of a frame, or of a single-frame image, in the file's own type.

    Args:
        dataset: The whole dataset, with its pixels.
        frame: Number of the frame from 0; None for a single-frame image.
        file: Its file, for messages.

    Raises:
        CtmarError: No or too few pixels, an unknown transfer syntax, bits set above BitsStored that are
            neither an overlay's nor padding's.
    """
    if "PixelData" not in dataset:
        raise CtmarError(f"{file.name}: PixelData must be there, got none")
    check_syntax(dataset, file)
    if dataset["PixelData"].is_undefined_length and not dataset.file_meta.get("TransferSyntaxUID"):
        raise CtmarError(f"{file.name}: TransferSyntaxUID of compressed pixels must be stated, got none")
    syntax = syntax_of(dataset)
    number, count = frame or 0, int(dataset.get("NumberOfFrames") or 1)
    if syntax in JPEGS:
        values = _decoded(dataset, number, count, file)
    elif syntax == RLE:
        from pydicom.pixels import get_decoder

        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        options: Any = {"raw": True, "correct_unused_bits": False}
        values, _ = decoder.as_array(dataset, index=number, **options)
    else:
        values = _plain(dataset, number, file)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise CtmarError(
            f"{file.name}: pixels must be {dataset.Rows} x {dataset.Columns}, got {values.shape}"
        )
    return values


def pixel_type(dataset: Any, order: str = "<") -> np.dtype[Any]:
    """The type of uncompressed pixels."""
    return np.dtype(f"{order}{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}")


def in_range(
    values: NDArray[np.integer], dataset: Any, padding: Padding | None, file: File
) -> NDArray[np.integer]:
    """The values of the stored bits, with their sign; overlays in the bits above are taken off.

    A signed value may leave the bits above empty or fill them with its sign, but a file does one of both.

    Raises:
        CtmarError: A value, other than declared padding, that needs more bits.
    """
    bits = int(dataset.BitsStored)
    spare = 8 * values.dtype.itemsize - bits
    if not spare:
        return values
    overlay = overlay_bits(dataset)
    own = np.asarray(values & np.array(~overlay).astype(values.dtype)) if overlay else values
    below = 2 ** (bits - 1) if own.dtype.kind == "i" else 2**bits
    if own.max() < below and own.min() >= (-below if own.dtype.kind == "i" else 0):
        return own
    cut: NDArray[np.integer] = (own << spare) >> spare
    wrong = cut != own
    empty_above = own.dtype.kind == "i" and bool((own >= 0).all() and (own >> bits == 0).all())
    if empty_above or (overlay and own.dtype.kind == "i") or not wrong.any():
        return cut
    if padding is not None and not (wrong & ~padding.holds(own)).any():
        return own
    raise CtmarError(
        f"{file.name}: pixels must fit into BitsStored ({bits}), got larger ones; with a BitsStored"
        " that holds them the file can be read"
    )


def _plain(dataset: Any, number: int, file: File) -> NDArray[np.integer]:
    little = bool(dataset.original_encoding[1])
    kind = pixel_type(dataset, "<" if little else ">")
    pixels = dataset.Rows * dataset.Columns
    stored = dataset.PixelData
    if dataset["PixelData"].VR == "OW" and not little and kind.itemsize == 1:
        stored = np.frombuffer(stored, "<u2").byteswap().tobytes()  # bytes travel in big-endian pairs
    if len(stored) < (number + 1) * pixels * kind.itemsize:
        raise CtmarError(f"{file.name}: pixels must be {dataset.Rows} x {dataset.Columns}, got fewer")
    values = np.frombuffer(stored, kind, pixels, number * pixels * kind.itemsize)
    return values.reshape(dataset.Rows, dataset.Columns).astype(kind.newbyteorder("<"))


def _decoded(dataset: Any, number: int, count: int, file: File) -> NDArray[np.integer]:
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
            raise CtmarError(f"{file.name}: {kind} pixels must be readable, got broken ones") from None
    if image.dtype.kind not in "iu" or image.size != dataset.Rows * dataset.Columns:
        raise CtmarError(f"{file.name}: pixels must be {dataset.Rows} x {dataset.Columns}, got others")
    return np.asarray(image.reshape(dataset.Rows, dataset.Columns)).astype(pixel_type(dataset))
