"""Datasets read from files as they come: without preamble, without or with an unknown transfer syntax."""

import math
from pathlib import Path
from typing import Any

from ctmar.errors import CtmarError
from ctmar.scans.dicom.elements import is_vr, start_of
from ctmar.scans.dicom.files import File

UNCOMPRESSED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
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
LOSSY = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
)
NEWER = {
    "1.2.840.10008.1.2.4.92": "JPEG 2000 part 2",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 part 2",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.8.1": "deflated frames",
}
"""Names of such as cannot be read here, where the library may not have them."""
LONGEST_UID = 64
VALUES = {
    "IS": "a whole number",
    "US": "a whole number",
    "SS": "a whole number",
    "UL": "a whole number",
    "DS": "a number",
    "FD": "a number",
    "FL": "a number",
    "SQ": "a sequence",
}


def read_dataset(path: Path, with_pixels: bool = False) -> Any | None:
    """A file's dataset; None for a file that is no DICOM.

    Args:
        path: The file; one without preamble is known by its first element.
        with_pixels: Whether its pixels are wanted.
    """
    import pydicom

    with open(path, "rb") as file:
        head = file.read(200)
        at = start_of(head)
        if at == 0 and not _begins_dataset(head):
            return None
        file.seek(0)
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=not with_pixels, force=at == 0)
        except (ValueError, NotImplementedError):
            if not is_unknown(path):
                raise
            # Its elements are encoded as they are, whatever the pixels are.
            dataset = _as_it_is(path)
    return dataset if at or "Rows" in dataset or "SOPClassUID" in dataset else None


def syntax_of(dataset: Any) -> str:
    """The transfer syntax; where it is not stated the one that the file is in."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return str(stated)
    implicit, little = dataset.original_encoding
    return UNCOMPRESSED[0 if implicit else 1] if little else UNCOMPRESSED[3]


def check_syntax(dataset: Any, file: File) -> None:
    """Refuses pixels in a transfer syntax that is not read here.

    Raises:
        CtmarError: Names the file, the element and the syntax.
    """
    syntax = syntax_of(dataset)
    if syntax in UNCOMPRESSED or syntax == RLE or syntax in JPEGS:
        return
    kind = "a private one" if not syntax.startswith("1.2.840.10008.") else NEWER.get(syntax, "an unknown one")
    shown = syntax[:LONGEST_UID] if syntax.replace(".", "").isdigit() else "no UID"
    raise CtmarError(
        f"{file.name}: TransferSyntaxUID must be one that is read here (uncompressed, RLE, JPEG, JPEG-LS,"
        f" JPEG 2000), got {kind}, {shown}; a copy written uncompressed can be read"
    )


def value_of(dataset: Any, keyword: str, file: File) -> Any:
    """An element's value; None where there is none.

    Raises:
        CtmarError: A value that is not of its kind; names file and element, without the value.
    """
    from pydicom.datadict import dictionary_VR

    try:
        value = dataset.get(keyword)
    except CtmarError:
        raise
    except Exception:
        vr = dictionary_VR(keyword)
        raise CtmarError(
            f"{file.name}: {keyword} must be {VALUES.get(vr, 'readable')}, got one that is not"
        ) from None
    return None if value in ("", b"") else value


def whole_number(dataset: Any, keyword: str, file: File) -> int | None:
    """An element that is a whole number; None where there is none.

    Raises:
        CtmarError: Something else, or several; names file and element.
    """
    value = value_of(dataset, keyword, file)
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value:
        raise CtmarError(f"{file.name}: {keyword} must be a whole number, got one that is not")
    return number


def numbers_of(value: Any, count: int, keyword: str, file: File) -> tuple[float, ...]:
    """So many finite numbers of an element.

    Raises:
        CtmarError: Others; names file and element.
    """
    try:
        numbers = tuple(float(part) for part in several(value))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise CtmarError(
            f"{file.name}: {keyword} must be {count} finite numbers, got {in_short(numbers) or 'none'}"
        )
    return numbers


def several(value: Any) -> list[Any]:
    """The values of an element that may have one, several or none."""
    if value is None or isinstance(value, (str, bytes)):
        return [] if not value else [value]
    try:
        return list(value)
    except TypeError:
        return [value]


def in_short(numbers: tuple[float, ...]) -> str:
    """Numbers as a message shows them."""
    return ", ".join(f"{number:g}" for number in numbers)


def is_unknown(path: Path) -> bool:
    """Whether a file states a transfer syntax that pydicom does not know."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import UID_dictionary

    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except Exception:
        return False
    return syntax is not None and UID_dictionary.get(str(syntax), ("", ""))[1] != "Transfer Syntax"


def _begins_dataset(head: bytes) -> bool:
    """Whether a file without preamble begins as a dataset, little-endian: in group 2 or 8, plausibly."""
    if len(head) < 16:
        return False
    group, number = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    length = int.from_bytes(head[4:8], "little")
    return group in (2, 8) and number < 0x0100 and (is_vr(head[4:6]) or length < 0x400)


def _as_it_is(path: Path) -> Any:
    """The dataset of a file in an unknown transfer syntax, without its pixels."""
    from pydicom.dataset import FileDataset
    from pydicom.filereader import read_dataset as read_elements
    from pydicom.filereader import read_file_meta_info

    with path.open("rb") as file:
        data = file.read(2**16)
        at = start_of(data)
        while at + 8 <= len(data) and data[at : at + 2] == b"\2\0":
            long = data[at + 4 : at + 6] in (b"OB", b"UN", b"UT", b"OW", b"SQ", b"UC", b"UR")
            size = 12 if long else 8
            at += size + int.from_bytes(data[at + (8 if long else 6) : at + size], "little")
        implicit = not is_vr(data[at + 4 : at + 6])
        file.seek(at)
        inner = read_elements(file, implicit, True, stop_when=lambda tag, vr, length: tag >= 0x7FE00008)
    dataset = FileDataset(path, inner, file_meta=read_file_meta_info(path))
    dataset.set_original_encoding(implicit, True)
    return dataset
