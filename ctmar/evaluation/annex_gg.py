"""The detection study of the proposed IEC 60601-2-44 Ed. 4, Annex GG: its scans by dose and contrast.

An adult chest with a titanium rod and a low-contrast lesion beside it, present and absent. Every realisation
has noise of its own and lies a little differently, those with and those without a lesion apart.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctmar.case import Case
from ctmar.data.simulate import Simulator
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import CLEAN, images_and_change
from ctmar.methods.base import Method
from ctmar.metrics.detection import folds_of
from ctmar.metrics.lesions import Lesion, patch
from ctmar.metrics.regions import widened_metal
from ctmar.scenes.spinal_rod import SpinalRod

REFERENCE = "reference"
"""Noise-free and without metal: what CT numbers are held against."""
PROGRESS_SECONDS = 5.0
Patches = dict[str, NDArray[np.float64]]
"""By method, ``(realisation, side, side)`` in HU around the lesion's place."""


@dataclass(frozen=True)
class Conditions:
    """What is scanned.

    Attributes:
        photons_per_ray: Doses: photons through air to a bin.
        contrasts_hu: Of the lesion, none of them 0.
        realisations: Scans with the lesion at each dose and contrast, and as many without at each dose.

    Raises:
        CtmarError: A list is empty, a dose not positive, a contrast 0, or there are too few realisations.
    """

    photons_per_ray: Sequence[float]
    contrasts_hu: Sequence[float]
    realisations: int

    def __post_init__(self) -> None:
        for name, fits in (("photons_per_ray", lambda x: x > 0), ("contrasts_hu", bool)):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values) or not all(map(fits, values)):
                wanted = "positive" if name == "photons_per_ray" else "other than 0"
                raise CtmarError(f"{name} must be a list of different numbers {wanted}, got {values}")
        folds_of(self.realisations)

    def __len__(self) -> int:
        """Scans of the study."""
        return len(self.photons_per_ray) * (1 + len(self.contrasts_hu)) * self.realisations


class Dose(NamedTuple):
    """What scans and corrects at one dose; methods may know the scanner's photons."""

    simulator: Simulator
    methods: Mapping[str, Method]


@dataclass(frozen=True)
class Scanned:
    """The study's patches.

    Attributes:
        present: By dose and contrast.
        absent: By dose.
        lesion: Where, on the reconstruction's pixels; its contrast means nothing.
        spacing_mm: Edge of a pixel.
        off_trace_max_abs_change: Largest change of a line integral that no metal touched; None where no line
            integral is at hand.
        dose: What tables call a dose.
        baseline: What they call the images without a method.
    """

    present: dict[tuple[float, float], Patches]
    absent: dict[float, Patches]
    lesion: Lesion
    spacing_mm: float
    off_trace_max_abs_change: float | None
    dose: str = "photons_per_ray"
    baseline: str = "uncorrected (FBP)"

    def __len__(self) -> int:
        """Images of the study."""
        return sum(len(next(iter(patches.values()))) for patches in self._all())

    @property
    def realisations(self) -> int:
        """Images with the lesion at each dose and contrast, and as many without at each dose."""
        return len(next(iter(next(self._all()).values())))

    def _all(self) -> Iterator[Patches]:
        yield from self.present.values()
        yield from self.absent.values()


def scan_study(
    conditions: Conditions,
    at: Callable[[float], Dose],
    *,
    half: int,
    filter: str = "ram-lak",
    progress: bool = True,
) -> Scanned:
    """Scans, corrects and reconstructs every condition, and cuts the patches that observers see.

    Args:
        conditions: What is scanned.
        at: What scans at a dose, with a :class:`~ctmar.scenes.SpinalRod` as generator of its scenes.
        half: Half the patches' side in pixels, which is ``2 half + 1``.
        filter: Of the FBP.
        progress: Whether lines about progress go to standard error.

    Raises:
        CtmarError: The patch does not lie in the image, or the scenes hold no rod.
    """
    present: dict[tuple[float, float], Patches] = {}
    absent: dict[float, Patches] = {}
    largest, report = 0.0, Progress("scan", len(conditions), progress)
    for dose in conditions.photons_per_ray:
        simulator, methods = at(dose)
        rod, lesion = _placed(simulator, half)
        for contrast in (0.0, *conditions.contrasts_hu):
            scanner = copy(simulator)
            scanner.generator = replace(rod, contrast_hu=contrast)
            seen: list[dict[str, NDArray[np.float64]]] = []
            # Scans with and without are of other numbers: their noise and their poses are independent.
            for index in range(int(contrast == 0), 2 * conditions.realisations, 2):
                patches, change = _patches(methods, scanner.case("test", index), lesion, half, filter)
                seen.append(patches)
                largest = max(largest, change)
                report.step()
            stacked = {name: np.stack([one[name] for one in seen]) for name in seen[0]}
            if contrast:
                present[dose, contrast] = stacked
            else:
                absent[dose] = stacked
    return Scanned(present, absent, lesion, _spacing_mm(simulator), largest)


def _spacing_mm(simulator: Simulator) -> float:
    """Edge of a pixel in the patient's millimetres, also of patients that a scanner shrinks."""
    return simulator.ray.grid.spacing_mm * simulator.scanner.shrink


def _placed(simulator: Simulator, half: int) -> tuple[SpinalRod, Lesion]:
    """The rod with the lesion's axis in the middle of a pixel, and which one that is."""
    rod, shape, spacing = simulator.generator, simulator.ray.grid.shape, _spacing_mm(simulator)
    if not isinstance(rod, SpinalRod):
        raise CtmarError(f"the study's generator must be a SpinalRod, got {type(rod).__name__}")
    middle = (np.asarray(shape) - 1) / 2
    row, column = np.round(np.asarray(rod.usual_mm())[::-1] / spacing + middle).astype(int)
    require_inside(int(row), int(column), half, shape)
    at = (float(column - middle[1]) * spacing, float(row - middle[0]) * spacing)
    return replace(rod, lesion_at_mm=at), Lesion(int(row), int(column), rod.lesion_radius_mm, 1.0)


def require_inside(row: int, column: int, half: int, shape: tuple[int, int]) -> None:
    """Refuses a patch of ``2 half + 1`` pixels around a pixel that leaves the image.

    Raises:
        CtmarError: It does.
    """
    if min(row, column) < half or row + half >= shape[0] or column + half >= shape[1]:
        raise CtmarError(
            f"a patch of {2 * half + 1} pixels must lie in the image of {shape[0]} × {shape[1]},"
            f" got its centre at {row}, {column}"
        )


def without_metal(shown: NDArray[np.float64], metal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A patch whose metal has the mean of the rest.

    Metal is never scored: it would outshine the lesion in the images that show it, and in these alone.
    """
    return np.where(metal, shown[~metal].mean(), shown)


def _patches(
    methods: Mapping[str, Method], case: Case, lesion: Lesion, half: int, filter: str
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """What each method shows around the lesion's place, metal left out; the largest change off the trace."""
    images, change = images_and_change(methods, case, filter)
    center = case.center()
    scan = center.scan
    metal = patch(widened_metal(scan.metal_mask[0, 0], scan.ray.grid.spacing_mm), lesion, half).numpy()
    found = {}
    for name, image in (images | {REFERENCE: center.truth.reference_hu}).items():
        shown = patch(image[0, 0].double(), lesion, half).cpu().numpy()
        found[name] = without_metal(shown, metal)
    return found, change


def cells(scanned: Scanned) -> Iterator[tuple[float, float, Patches, Patches]]:
    """Dose, contrast, patches with the lesion and without, cell by cell."""
    for (dose, contrast), present in scanned.present.items():
        yield dose, contrast, present, scanned.absent[dose]


def methods_of(scanned: Scanned) -> list[str]:
    """The rows, ``clean`` last where there is one."""
    first = next(iter(scanned.absent.values()))
    return sorted((name for name in first if name != REFERENCE), key=lambda name: name == CLEAN)


def lesion_mask(side: int, spacing_mm: float, radius_mm: float) -> NDArray[np.bool_]:
    """The lesion's place in a patch of ``side`` pixels."""
    offset = (np.arange(side) - side // 2) * spacing_mm
    return np.asarray(np.hypot(offset[:, None], offset[None]) <= radius_mm)


def bias_hu(scanned: Scanned, method: str) -> NDArray[np.float64] | None:
    """CT number at the lesion's place less the reference's, by realisation: no lesion, mean over doses.

    None where there is no reference.
    """
    first = next(iter(scanned.absent.values()))
    if REFERENCE not in first:
        return None
    inside = lesion_mask(first[method].shape[-1], scanned.spacing_mm, scanned.lesion.radius_mm)
    errors = [(found[method] - found[REFERENCE])[:, inside].mean(-1) for found in scanned.absent.values()]
    return np.asarray(np.mean(errors, axis=0))


class Progress:
    """Lines to standard error: the first step, the last, and one every few seconds.

    Args:
        what: A step, such as ``scan``.
        total: How many there are.
        shown: Whether anything is printed.
    """

    def __init__(self, what: str, total: int, shown: bool) -> None:
        self._what, self._total, self._shown, self._done = what, total, shown, 0
        self._start = self._last = time.monotonic()

    def step(self) -> None:
        """Called after each."""
        self._done += 1
        now = time.monotonic()
        if self._shown and (self._done in (1, self._total) or now - self._last >= PROGRESS_SECONDS):
            self._last = now
            each = (now - self._start) / self._done
            line = f"study: {self._what} {self._done} of {self._total}, {each:.2f} s a {self._what}"
            print(line, file=sys.stderr, flush=True)
