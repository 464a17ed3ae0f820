"""What a scan on disk is to the correction: slices to read one by one, and a place to write them to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ctmar.stored.corrected import Corrected, Image


@dataclass(frozen=True)
class Derivation:
    """How an output came to be, for the headers that can say so.

    Attributes:
        method: Name of the method.
        text: One sentence for a reader.
        version: Of ctmar.
        repeatable: Whether the UIDs of the output follow from those of its source and the method: then the
            same correction of a scan, done twice or by two at a time, is the same images.
    """

    method: str
    text: str
    version: str
    repeatable: bool = False


Frame = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


class Sink(Protocol):
    """Takes corrected slices in any order, each once."""

    def write(self, index: int, corrected: Corrected) -> None:
        """Writes a slice; what was kept is written bit for bit as it was read."""
        ...

    def finish(self) -> None:
        """Called once, after the last slice."""
        ...


class SliceStack(Protocol):
    """A scan of axial slices.

    Attributes:
        name: What messages call it: a file of it.
        shape: Rows and columns.
        spacing_mm: Distance between rows and between columns.
        places_mm: Where each slice lies along the common normal, in the order of the slices.
        notes: What had to be handled on reading, a sentence each, without patient data.
        is_dicom: Whether the output is a folder of DICOM files.
    """

    name: str
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    places_mm: tuple[float, ...]
    notes: list[str]
    is_dicom: bool

    def read(self, index: int) -> Image:
        """A slice ``(row, column)`` in HU, float32."""
        ...

    def frame(self) -> Frame:
        """Where the slices lie: origin, spacing (x, y, z) in mm and direction, as SimpleITK has them."""
        ...

    def astray_mm(self) -> float:
        """How far a slice at most lies from where :meth:`frame` has it."""
        ...

    def sink(self, folder: Path, derivation: Derivation) -> Sink:
        """Where the corrected slices go: files in ``folder``, which exists."""
        ...


def neighbours(places_mm: tuple[float, ...], index: int, reach: int) -> list[int]:
    """The slices from ``index - reach`` to ``index + reach``; beyond an end or a gap the nearest before it.

    A gap is a step of more than one and a half times the median.
    """
    steps = [b - a for a, b in zip(places_mm, places_mm[1:], strict=False)]
    usual = sorted(steps)[len(steps) // 2] if steps else 0.0
    found = [index]
    for way in (-1, 1):
        last = index
        for _ in range(reach):
            following = last + way
            inside = 0 <= following < len(places_mm)
            if inside and abs(places_mm[following] - places_mm[last]) <= 1.5 * usual:
                last = following
            found.append(last)
    return sorted(found)
