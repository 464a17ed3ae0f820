"""Copies of slices: what lies at the same place and holds the same pixels. A shared UID alone is no copy."""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from ctmar.scans.dicom.files import Header
from ctmar.stored.slices import Image

PLACE_DECIMALS = 3
ReadImage = Callable[[Header], Image]


def without_copies(headers: Sequence[Header], read: ReadImage) -> tuple[list[Header], list[str]]:
    """A series without the copies in it, and notes on them and on UIDs that are not unique.

    A copy has a place and pixels of another file, and its SOPInstanceUID or its instance number. Pixels are
    read only where the rest coincides. A file of several frames is left out as a whole or not at all.

    Args:
        headers: Slices of one series.
        read: Reads a slice in HU.
    """
    images: dict[Path, list[Header]] = {}
    for header in headers:
        images.setdefault(header.path, []).append(header)
    digests: dict[Path, bytes] = {}

    def digest(image: Sequence[Header]) -> bytes:
        path = image[0].path
        if path not in digests:
            digests[path] = hashlib.sha256(b"".join(read(frame).tobytes() for frame in image)).digest()
        return digests[path]

    kept: dict[Hashable, list[list[Header]]] = {}
    for image in images.values():
        there = kept.setdefault(tuple(map(_place, image)), [])
        if not any(_alike(image, other) and digest(image) == digest(other) for other in there):
            there.append(image)
    files = [image for there in kept.values() for image in there]
    slices = [header for image in files for header in image]
    return slices, _notes(len(headers) - len(slices), files)


def _place(header: Header) -> Hashable:
    """Where a slice lies; where the header does not say, what it is called, and else itself."""
    if header.position is not None:
        return tuple(round(x, PLACE_DECIMALS) + 0.0 for x in header.position)
    if header.instance or header.instance_number:
        return header.instance, header.instance_number, header.frame
    return header.path, header.frame


def _alike(one: Sequence[Header], other: Sequence[Header]) -> bool:
    return one[0].instance == other[0].instance or one[0].instance_number == other[0].instance_number


def _notes(copies: int, files: Sequence[Sequence[Header]]) -> list[str]:
    notes = [f"{copies} copies of slices left out"] if copies else []
    count = Counter(image[0].instance for image in files if image[0].instance)
    shared = sum(number for number in count.values() if number > 1)
    if shared:
        notes.append(
            f"{shared} slices share a SOPInstanceUID with others but are no copies: all are kept, and each"
            " derived one has a UID of its own"
        )
    return notes
