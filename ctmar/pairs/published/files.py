"""A published set's own files: what a set says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import ClassVar

from ctmar.errors import CtmarError
from ctmar.pairs.published.case import FieldCase

ONLY = 0
"""Number of the metal of a slice that has but one."""


class FieldFiles(ABC):
    """The files of a published set: slices by name, each with one metal or several.

    A set of one's own derives from it, sets the attributes and has the methods;
    :mod:`ctmar.pairs.published.cases` makes cases of it.

    Attributes:
        title: The set's name in messages.
        option: ``geometry=``, ``scanner=`` and ``data=`` are called so.
        images: Names of the images that the files bring, as :attr:`FieldCase.images` has them.
        ceiling: Of these, the set's reconstruction without metal; None where it brings none.
        shape: Rows and columns of the images.
        pixel_mm: Edge of a pixel in the patients' millimetres, those of ``geometry=option``.
        rays: Views and bins of the sinograms, None for any number of bins; None where there are none.
        shrink: Times that the set's world is smaller than its patients.
        mu_water: Attenuation of water in 1/mm of the set's world.
        center_px: Where the middle of the image lies, in pixels to the right of the axis and above it.
        patient: Regular expression of whose slice a name is; None where names do not tell, and neighbours
            are kept apart instead.
        left_out: What the set's own lists leave out, for the table.
    """

    title: ClassVar[str]
    option: str
    shape: ClassVar[tuple[int, int]]
    pixel_mm: float
    rays: ClassVar[tuple[int, int | None] | None] = None
    shrink: ClassVar[float] = 1.0
    mu_water: float
    center_px: ClassVar[tuple[float, float]] = (0.0, 0.0)
    patient: ClassVar[str | None] = None
    images: Sequence[str] = ()
    ceiling: str | None = None
    left_out: Sequence[str] = ()

    @abstractmethod
    def slices(self) -> Sequence[str]:
        """Names of all slices, in their order."""

    @abstractmethod
    def read(self, name: str, metal: int) -> FieldCase:
        """A slice with one of its metals; its name is :meth:`case_id`."""

    def metals(self, name: str) -> list[int]:
        """Numbers of a slice's metals."""
        return [ONLY]

    def case_id(self, name: str, metal: int) -> str:
        """What a slice with a metal is called in tables."""
        return name

    def none_found(self) -> str:
        """What no slice has, for an error."""
        return "a metal"


class NumberedSlices(FieldFiles):
    """A folder a slice, ``PART/PATIENT_STUDY_SERIES/SLICE``, in it a ``gt`` file and a numbered one a metal.

    Args:
        root: Folder with slices at any depth.
        masks: Numbers of the metals; None for all that a slice has.

    Raises:
        CtmarError: No slice, or one that stands there twice.
    """

    suffix: ClassVar[str]
    first: ClassVar[int] = 0
    patient = r"([^/_]+)[^/]*/[^/]+$"
    """DeepLesion has several scans of one patient."""

    def __init__(self, root: str | PathLike[str], masks: list[int] | None = None) -> None:
        self.root, self.masks = Path(root).expanduser(), None if masks is None else set(masks)
        found = sorted(path.parent for path in self.root.glob(f"**/gt{self.suffix}"))
        if not found:
            wanted = f"*/*/gt{self.suffix} and {self.first}{self.suffix} …"
            raise CtmarError(f"{self.title} must lie under {self.root} as {wanted}, got none")
        self.folders = {"/".join(folder.absolute().parts[-3:]): folder for folder in found}
        if len(self.folders) < len(found):
            raise CtmarError(
                f"{self.root} must hold each slice once, got a part/patient/slice that stands there twice"
            )

    def slices(self) -> Sequence[str]:
        """Names ``PART/PATIENT_STUDY_SERIES/SLICE``."""
        return list(self.folders)

    def metals(self, name: str) -> list[int]:
        """Numbers of the metals that a slice's folder holds, of those asked for."""
        found = (path.stem for path in self.folders[name].glob(f"*{self.suffix}"))
        numbers = sorted(int(stem) for stem in found if stem.isdecimal())
        return [number for number in numbers if self.masks is None or number in self.masks]

    def case_id(self, name: str, metal: int) -> str:
        """``PATIENT_STUDY_SERIES-SLICE-METAL``."""
        return "-".join((*name.split("/")[-2:], str(metal)))

    def none_found(self) -> str:
        """The file of a metal, or the numbers asked for."""
        return "a metal" if self.masks is None else f"one of the metals {sorted(self.masks)}"
