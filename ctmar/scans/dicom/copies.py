"""Copies of slices: what lies at the same place and holds the same pixels. A shared UID alone is no copy."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from ctmar.scans.dicom.headers import Header
from ctmar.stored.corrected import Image

SAME_PLACE_MM = 1e-3
CELL_MM = 1.0
"""Slices are looked for in cells of this size, and in the next ones."""
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

    files: list[list[Header]] = []
    kept: dict[Hashable, list[list[Header]]] = {}
    for image in images.values():
        near = (other for cell in _cells(image[0], (-1, 0, 1)) for other in kept.get(cell, []))
        if not any(_coincide(image, other) and digest(image) == digest(other) for other in near):
            files.append(image)
            for cell in _cells(image[0], (0,)):
                kept.setdefault(cell, []).append(image)
    slices = [header for image in files for header in image]
    return slices, _notes(len(headers) - len(slices), files)


def _cells(header: Header, steps: Sequence[int]) -> list[Hashable]:
    """Where to look for the copies of a slice: by its place; where it has none, by what it is called."""
    if header.position is not None:
        at = math.floor(header.position[2] / CELL_MM)
        return [at + step for step in steps]
    if header.instance or header.instance_number:
        return [(header.instance, header.instance_number)]
    return [header.path]


def _coincide(one: Sequence[Header], other: Sequence[Header]) -> bool:
    return len(one) == len(other) and _alike(one, other) and all(map(_same_place, one, other))


def _same_place(one: Header, other: Header) -> bool:
    if one.position is None or other.position is None:
        return one.position is other.position and one.frame == other.frame
    return max(abs(a - b) for a, b in zip(one.position, other.position, strict=True)) <= SAME_PLACE_MM


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
