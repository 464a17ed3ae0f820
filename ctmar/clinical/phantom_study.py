"""A user's own phantom scans as a study of detection: a list of series, with a lesion and without.

Images are taken as they are, of a scanner, of a vendor's correction, of a peer's; or corrected here, as
``ctmar correct`` corrects a stored image. :mod:`ctmar.evaluation.judging` says what observers make of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ctmar.clinical.job import MakeMethod
from ctmar.clinical.phantom_list import Condition, Row
from ctmar.clinical.phantom_region import Pixels, Region
from ctmar.clinical.survey import Survey, survey
from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import (
    REFERENCE,
    Progress,
    Scanned,
    lesion_mask,
    without_metal,
)
from ctmar.evaluation.cases import UNCORRECTED
from ctmar.metrics.detection import folds_of
from ctmar.metrics.lesions import Lesion
from ctmar.metrics.regions import widened_metal
from ctmar.scans.opening import scans_in
from ctmar.scans.stack import SliceStack, neighbours
from ctmar.stored.corrected import Image
from ctmar.stored.metal import find_metal
from ctmar.stored.slices import SQUARE_TOLERANCE, SliceCorrector

SAME_SPACING = 1e-4
"""Pixels whose edges differ by a smaller share are of one size."""
SAME_PLACE_MM = 1e-3
Patch = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class _Cell:
    """What is known of one condition."""

    patches: list[Patch] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)


class PhantomStudy:
    """The listed scans, read and checked.

    All of them are read once, before anything is corrected: what does not fit is refused at once.

    Args:
        rows: The list, as :func:`~ctmar.clinical.phantom_list.read_list` gives it.
        region: Where the lesion is.
        realisations: The first so many of each condition; None for all.

    Attributes:
        pixels: Of all images.
        lesion: The lesion on these pixels.
        half: Half the patches' side.
        notes: What a reader of the table must know, a sentence each, without patient data.

    Raises:
        CtmarError: Images that cannot be read, differ in size or pixels, hold the lesion's place outside or
            in metal; conditions of unequal or too few realisations.
    """

    pixels: Pixels
    lesion: Lesion
    half: int

    def __init__(self, rows: Sequence[Row], region: Region, realisations: int | None = None) -> None:
        self._rows, self._region, self._most = rows, region, realisations
        self._cells: dict[Condition, _Cell] = {}
        self._found: dict[tuple[int, int], Survey] = {}
        self._corners: list[tuple[float, float]] = []
        uncorrected = [row for row in rows if row.condition.method == UNCORRECTED]
        for row in [*uncorrected, *(row for row in rows if row not in uncorrected)]:
            with row.naming():
                self._read(row)
        self.count = self._counted()
        self.notes = self._apart()

    @property
    def side(self) -> int:
        """Pixels along an edge of the patches."""
        return 2 * self.half + 1

    def _read(self, row: Row) -> None:
        cell = self._cells.setdefault(row.condition, _Cell())
        baseline = row.condition.method == UNCORRECTED
        for number, scan in enumerate(scans_in(row.path)):
            self._check(scan, row)
            found = survey(scan) if baseline else None
            if found is not None:
                self._found[row.line, number] = found
            for index in row.chosen(len(scan.places_mm)):
                if len(cell.patches) == self._most:
                    return
                image = scan.read(index)
                if not np.isfinite(image).all():
                    raise CtmarError(
                        f"images must be finite, got NaN or infinite pixels in slice {index + 1}"
                    )
                cell.patches.append(self._patch(image))
                if found is not None:
                    cell.masks.append(self._metal(image, found))

    def _check(self, scan: SliceStack, row: Row) -> None:
        """Refuses images that are not of the pixels of all others."""
        rows_mm, columns_mm = map(float, scan.spacing_mm)
        if abs(rows_mm - columns_mm) > SQUARE_TOLERANCE * rows_mm:
            raise CtmarError(f"pixels must be square, got {rows_mm:g} × {columns_mm:g} mm")
        if not self._corners:
            self.pixels = Pixels(scan.shape, rows_mm, row.line)
            self.lesion = self._region.lesion(scan.shape, rows_mm)
            self.half = self._region.half(rows_mm)
        shape, spacing_mm, line = self.pixels
        if scan.shape != shape:
            told, got = (f"{a} × {b}" for a, b in (shape, scan.shape))
            raise CtmarError(f"images must all be of one size, {told} as those of line {line}, got {got}")
        if abs(rows_mm - spacing_mm) > SAME_SPACING * spacing_mm:
            raise CtmarError(
                f"pixels must all be of one size, {spacing_mm:g} mm as those of line {line},"
                f" got {rows_mm:g} mm"
            )
        origin = scan.frame()[0]
        self._corners.append((float(origin[0]), float(origin[1])))

    def _patch(self, image: Image | Mask) -> Patch:
        row, column, half = self.lesion.row, self.lesion.column, self.half
        cut = image[row - half : row + half + 1, column - half : column + half + 1]
        return np.asarray(cut, np.float64)

    def _metal(self, image: Image, found: Survey) -> Mask:
        """Where the patch shows metal, or what lies beside it."""
        spacing_mm = self.pixels.spacing_mm
        metal = find_metal(image, spacing_mm**2, found.rule)
        if not metal.any():
            return np.zeros((self.side, self.side), bool)
        mask = self._patch(widened_metal(torch.from_numpy(metal), spacing_mm).numpy()) > 0
        place = lesion_mask(self.side, spacing_mm, self.lesion.radius_mm)
        if mask[place].mean() > 0.5:
            raise CtmarError(
                f"the lesion's place must be free of metal, got metal in {mask[place].mean():.0%} of it"
                f" around row {self.lesion.row}, column {self.lesion.column}"
            )
        return mask

    def _counted(self) -> int:
        """Realisations of every condition; the reference's may be as many as they are."""
        counts = {c: len(cell.patches) for c, cell in self._cells.items() if c.method != REFERENCE}
        first, count = next(iter(counts.items()))
        for condition, other in counts.items():
            if other != count:
                raise CtmarError(
                    f"realisations must be as many in every condition, got {count} of {first} and {other} of"
                    f" {condition}; benchmark.realisations=N takes the first N of each"
                )
        if self._most is not None and count < self._most:
            raise CtmarError(f"realisations must be at most {count}, which are there, got {self._most}")
        folds_of(count)
        return count

    def _apart(self) -> list[str]:
        """A note where headers put images elsewhere: another centre of reconstruction moves the lesion."""
        apart = float(np.ptp(np.asarray(self._corners), axis=0).max())
        if apart <= self.pixels.spacing_mm / 2:
            return []
        return [
            f"by their headers images lie up to {apart:.3g} mm apart in their plane;"
            " the lesion's place is taken by the pixels"
        ]

    def corrected(
        self, methods: Mapping[str, MakeMethod], backend: str = "auto", progress: bool = True
    ) -> None:
        """Corrects the uncorrected images with further methods, as ``ctmar correct`` corrects a scan.

        Args:
            methods: By name; each makes its method for scans that are cut off in metal, or are not.
            backend: Projector backend.
            progress: Whether lines about progress go to standard error.
        """
        rows = [row for row in self._rows if row.condition.method == UNCORRECTED]
        conditions = len({row.condition for row in rows})
        report = Progress("image", conditions * self.count * len(methods), progress)
        for name, make in methods.items():
            correctors: dict[bool, SliceCorrector] = {}
            for row in rows:
                cell = self._cells.setdefault(row.condition._replace(method=name), _Cell())
                with row.naming():
                    for scan, found, index in self._uncorrected(row):
                        if len(cell.patches) == self.count:
                            break
                        if found.clipped not in correctors:
                            correctors[found.clipped] = SliceCorrector(
                                scan.shape, scan.spacing_mm, make(found.clipped), backend, found.clipped
                            )
                        cell.patches.append(
                            self._patch(_corrected(correctors[found.clipped], scan, found, index))
                        )
                        report.step()

    def _uncorrected(self, row: Row) -> Iterator[tuple[SliceStack, Survey, int]]:
        for number, scan in enumerate(scans_in(row.path)):
            for index in row.chosen(len(scan.places_mm)):
                yield scan, self._found[row.line, number], index

    def scanned(self) -> Scanned:
        """What judges get: patches by method, dose and contrast, without the metal.

        The reference, where there is one, is one CT number: the mean over its images at the lesion's place.
        """
        judged = {c: cell for c, cell in self._cells.items() if c.method != REFERENCE}
        known = [p for c, cell in self._cells.items() if c.method == REFERENCE for p in cell.patches]
        place = lesion_mask(self.side, self.pixels.spacing_mm, self.lesion.radius_mm)
        present: dict[tuple[float, float], dict[str, Patch]] = {}
        absent: dict[float, dict[str, Patch]] = {}
        for (method, dose, contrast), cell in judged.items():
            masks = self._cells[Condition(UNCORRECTED, dose, contrast)].masks
            pairs = zip(cell.patches, masks, strict=True)
            stacked = np.stack([without_metal(shown, metal) for shown, metal in pairs])
            there = present.setdefault((dose, contrast), {}) if contrast else absent.setdefault(dose, {})
            there[method] = stacked
            if known:
                there[REFERENCE] = np.full_like(stacked, np.mean([p[place] for p in known]))
        spacing_mm = self.pixels.spacing_mm
        return Scanned(present, absent, self.lesion, spacing_mm, None, "dose", UNCORRECTED)


def _corrected(corrector: SliceCorrector, scan: SliceStack, found: Survey, index: int) -> Image:
    """A slice corrected; neighbours of a method that looks at some are those of the scan."""
    near = [index] * (2 * corrector.reach + 1)
    if len(scan.places_mm) > 1 and np.diff(scan.places_mm).min() > SAME_PLACE_MM:
        # Slices at one place are the same one scanned again: their mean would be of another dose.
        near = neighbours(scan.places_mm, index, corrector.reach)
    images = [scan.read(k) for k in near]
    metals = [find_metal(image, corrector.area_mm2, found.rule) for image in images]
    return corrector.correct(images, metals).image_hu
