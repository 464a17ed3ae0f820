"""Elements of a DICOM file as the bytes that came: what is not meant to change is never decoded.

A library that decodes a value and encodes it again writes another one where text does not fit its declared
character set, or a number its representation. Here values are cut out of the file and put into the next.
Only what the next file's encoding (explicit VR, little-endian) asks for is done: an implicit VR is looked
up, binary numbers of a big-endian file are swapped.
"""

import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ctmar.errors import CtmarError
from ctmar.scans.dicom.encoding import (
    DEFLATED,
    EXPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONGEST_SHORT,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    START,
    SWAPPED,
    UNDEFINED,
    Element,
    Elements,
    Encoding,
)

Buffer = bytes | mmap.mmap


def read_elements(path: Path, dataset: Any, name: str) -> Elements:
    """The elements of a file, without its pixels and group lengths.

    Args:
        path: The file.
        name: What messages call it.
        dataset: As pydicom read it, which says in which byte order.

    Raises:
        CtmarError: A sequence without items or end; names the file.
    """
    try:
        return _of_file(path, dataset)
    except CtmarError as error:
        raise CtmarError(f"{name}: {error}") from None


def elements_of(dataset: Any) -> Elements:
    """The elements of a dataset that was made here, of ASCII text."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return _parsed(buffer.getvalue(), 0, None, EXPLICIT_LITTLE)


def items_of(sequence: Element | None) -> list[Elements]:
    """The items of a sequence; none for none."""
    if sequence is None:
        return []
    value = sequence.value
    return [_parsed(value, a, b, EXPLICIT_LITTLE) for a, b in _items(value, 0, len(value), EXPLICIT_LITTLE)]


def sequence_of(items: Iterable[Elements]) -> Element:
    """A sequence of such items."""
    return Element("SQ", b"".join(_item(b"".join(chunks(item))) for item in items))


def chunks(elements: Elements) -> Iterator[bytes]:
    """Elements encoded, in the order of their tags."""
    for tag in sorted(elements):
        vr, value, undefined = elements[tag]
        start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if not undefined and not _is_long(vr) and len(value) > LONGEST_SHORT:
            vr = "UN"  # PS3.5, 6.2.2
        if undefined or _is_long(vr):
            yield start + vr.encode() + struct.pack("<HL", 0, UNDEFINED if undefined else len(value))
        else:
            yield start + vr.encode() + struct.pack("<H", len(value))
        yield value
        if undefined:
            yield struct.pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)


def write_elements(elements: Elements, meta: Any, path: Path) -> None:
    """Writes a file.

    Args:
        elements: All of its elements.
        meta: Its file meta information.
        path: The file.
    """
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    head = DicomBytesIO()
    write_file_meta_info(head, meta)
    with path.open("wb") as file:
        file.write(b"\0" * 128 + b"DICM" + head.getvalue())
        file.writelines(chunks(elements))


def _of_file(path: Path, dataset: Any) -> Elements:
    little = bool(dataset.original_encoding[1])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = _end_of_meta(data)
        if dataset.file_meta.get("TransferSyntaxUID") == DEFLATED:
            inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])
            return _parsed(inflated, 0, None, Encoding(not is_vr(inflated[4:6]), little))
        # The file is what it is, also where its transfer syntax says otherwise.
        return _parsed(data, start, None, Encoding(not is_vr(data[start + 4 : start + 6]), little))


def _item(value: bytes) -> bytes:
    return struct.pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, len(value)) + value


def is_vr(letters: bytes) -> bool:
    """Whether two bytes can be a VR."""
    return letters.isalpha() and letters.isupper()


def _is_long(vr: str) -> bool:
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

    return vr in EXPLICIT_VR_LENGTH_32


def start_of(data: Buffer) -> int:
    """Where a file's elements begin: behind preamble and prefix, where it has them."""
    return START if data[START - 4 : START] == b"DICM" else 0


def _end_of_meta(data: Buffer) -> int:
    at = start_of(data)
    while at + 8 <= len(data) and struct.unpack_from("<H", data, at)[0] == 2:
        _, _, length, at = _head(data, at, EXPLICIT_LITTLE)
        at += length
    return at


class _Raw(NamedTuple):
    """An element where it lies: from ``start`` to ``end``, the next one from ``after``."""

    tag: int
    vr: str | None
    start: int
    end: int
    after: int
    undefined: bool


def _parsed(data: Buffer, start: int, end: int | None, encoding: Encoding, signed: bool = False) -> Elements:
    """Elements from ``start`` to ``end``, brought to explicit VR and little-endian order."""
    found: Elements = {}
    for raw in _elements(data, start, len(data) if end is None else end, encoding):
        group, number = raw.tag >> 16, raw.tag & 0xFFFF
        if raw.tag == PIXEL_DATA or number == 0 or group in (0, 2):
            continue  # group lengths would be wrong, and commands and meta information have no place here
        vr = raw.vr or _looked_up(raw, found, signed)
        if encoding == EXPLICIT_LITTLE:
            found[raw.tag] = Element(vr, data[raw.start : raw.end], raw.undefined)
        elif vr == "SQ" or (vr == "UN" and raw.undefined):
            inner = _inner(data, raw.start, raw.vr, encoding)
            spans = _items(data, raw.start, raw.end, inner)
            found[raw.tag] = sequence_of([_parsed(data, a, b, inner, signed) for a, b in spans])
        else:
            value = _swapped(data[raw.start : raw.end], 1 if encoding.little else SWAPPED.get(vr, 1))
            found[raw.tag] = Element(vr, value, raw.undefined)
        if raw.tag == PIXEL_REPRESENTATION:
            signed = any(found[raw.tag].value)
    return found


def _elements(data: Buffer, at: int, end: int, encoding: Encoding) -> Iterator[_Raw]:
    while at + 8 <= end:
        tag, vr, length, at = _head(data, at, encoding)
        if tag == ITEM_END:
            return
        if length == UNDEFINED:
            stop, after = _end_of_items(data, at, end, _inner(data, at, vr, encoding))
        else:
            stop = after = min(at + length, end)
        yield _Raw(tag, vr, at, stop, after, length == UNDEFINED)
        at = after


def _head(data: Buffer, at: int, encoding: Encoding) -> tuple[int, str | None, int, int]:
    """Tag, VR where it is stated, length, and where the value begins."""
    group, number, length = struct.unpack_from(f"{encoding.order}HHL", data, at)
    tag, vr = group << 16 | number, data[at + 4 : at + 6]
    # Some writers switch to implicit VR inside a sequence.
    if encoding.implicit or group == 0xFFFE or not is_vr(vr):
        return tag, None, length, at + 8
    if _is_long(vr.decode()):
        return tag, vr.decode(), struct.unpack_from(f"{encoding.order}L", data, at + 8)[0], at + 12
    return tag, vr.decode(), struct.unpack_from(f"{encoding.order}H", data, at + 6)[0], at + 8


def _items(data: Buffer, at: int, end: int, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Where each item of a sequence begins and ends."""
    while at + 8 <= end:
        tag, _, length, start = _head(data, at, encoding)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise CtmarError("a sequence must hold items, got something else")
        if length == UNDEFINED:
            at = _end_of_item(data, start, end, encoding)
            yield start, at - 8
        else:
            at = min(start + length, end)
            yield start, at


def _end_of_items(data: Buffer, at: int, end: int, encoding: Encoding) -> tuple[int, int]:
    """Where a value without a length ends, and what follows its mark begins."""
    mark = struct.pack(f"{encoding.order}HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
    if at + 8 <= end and _head(data, at, encoding)[0] == ITEM:
        at = max(stop for _, stop in _items(data, at, end, encoding))
    found = data.find(mark, at, end)
    if found < 0:
        raise CtmarError("a value without a length must have its end marked, got none")
    return found, found + 8


def _end_of_item(data: Buffer, at: int, end: int, encoding: Encoding) -> int:
    """Behind the mark that ends an item without a length."""
    for raw in _elements(data, at, end, encoding):
        at = raw.after
    if at + 8 > end or _head(data, at, encoding)[0] != ITEM_END:
        raise CtmarError("an item without a length must have its end marked, got none")
    return at + 8


def _inner(data: Buffer, at: int, vr: str | None, encoding: Encoding) -> Encoding:
    """How the items of a sequence are encoded: those of an unknown VR implicitly (PS3.5, 6.2.2), mostly."""
    return encoding if vr != "UN" else Encoding(not is_vr(data[at + 12 : at + 14]), encoding.little)


def _looked_up(raw: _Raw, before: Elements, signed: bool) -> str:
    """The VR of an element that does not state it: by the dictionaries, or unknown."""
    from pydicom.datadict import dictionary_VR, private_dictionary_VR

    group, number = raw.tag >> 16, raw.tag & 0xFFFF
    try:
        if group % 2 == 0:
            vr = str(dictionary_VR(raw.tag))
        elif number < 0x100:
            vr = "LO"
        else:
            creator = before.get(group << 16 | number >> 8)
            name = creator.value.decode("latin-1").strip(" \0") if creator else ""
            vr = str(private_dictionary_VR(raw.tag, name))
    except KeyError:
        vr = "SQ" if raw.undefined else "UN"
    if " or " in vr:
        numbers = "SS" if signed else "US"
        vr = "OW" if "OW" in vr else numbers
    return vr


def _swapped(value: bytes, size: int) -> bytes:
    """With the bytes of each whole number turned round."""
    if size == 1:
        return value
    whole = len(value) - len(value) % size
    turned = bytearray(value)
    for place in range(size):
        turned[place:whole:size] = value[size - 1 - place : whole : size]
    return bytes(turned)
