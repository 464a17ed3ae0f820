"""What scans a case: a scanner in its geometry, or several in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam, smaller
from ctmar.operators.filters import FILTERS
from ctmar.physics import Scanner
from ctmar.physics.gantries import Gantry, HelicalScan, make_gantry

Rays = FanBeam | HelicalScan | None


@dataclass(frozen=True)
class Scanning:
    """How a case is scanned.

    Attributes:
        scanner: What measures.
        acquisition: Its own geometry, whose sinograms are rebinned to the run's beam; None scans with the
            run's beam itself.
        parts: Of several ways to scan: how many cases of a round are scanned so.
        filter: FBP filter of the images that it stores (``data.source=image``), which makes them sharp or
            soft; None for the run's.

    Raises:
        CtmarError: ``parts`` is no positive whole number, or there is no such filter.
    """

    scanner: Scanner
    acquisition: Rays = None
    parts: int = 1
    filter: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.parts, bool) or not isinstance(self.parts, int) or self.parts < 1:
            raise CtmarError(f"parts must be a positive whole number, got {self.parts!r}")
        if self.filter not in (None, *FILTERS):
            raise CtmarError(f"filter must be null or one of {', '.join(FILTERS)}, got {self.filter!r}")


class Station:
    """A scanner over the run's pixels and rays.

    Args:
        scanning: How it scans.
        grid: Pixels of the reconstruction, where patients are as large as they are.
        beam: Rays of the sinogram, likewise.
        backend: Projector backend.

    Attributes:
        scanner: What measures.
        lies_on: Pixels of the patient.
        grid: Pixels of the reconstruction, perhaps in a smaller world.
        beam: Rays of the sinogram, likewise.
        filter: Of the images that it stores, None for the run's.
    """

    def __init__(self, scanning: Scanning, grid: ImageGrid, beam: ParallelBeam, backend: str) -> None:
        self.scanner, self.filter = scanning.scanner, scanning.filter
        shrink = self.scanner.shrink
        self.lies_on = grid.refine(self.scanner.oversampling)
        self.grid, self.beam = smaller(grid, shrink), smaller(beam, shrink)
        self._acquisition, self._backend = _smaller(scanning.acquisition, shrink), backend
        self.gantry = self._of(self.scanner)

    @cached_property
    def expecting(self) -> Gantry:
        """The same without noise."""
        return self._of(self.scanner.expecting())

    def _of(self, scanner: Scanner) -> Gantry:
        return make_gantry(scanner, self.grid, self._acquisition, self.beam, self._backend)


class Stations:
    """Where cases are scanned, dealt round by round: the shares hold in every stretch of cases.

    Each round has an order of its own, so that a scan does not always meet the same one of dealt bodies.

    Args:
        scans: Ways to scan by name.
        grid: Pixels of the reconstruction.
        beam: Rays of the sinogram.
        backend: Projector backend.

    Raises:
        CtmarError: There is none, or they make patients smaller by several factors.
    """

    def __init__(
        self, scans: Mapping[str, Scanning], grid: ImageGrid, beam: ParallelBeam, backend: str
    ) -> None:
        if not scans:
            raise CtmarError("scans must name a scanner or more, got none")
        factors = sorted({one.scanner.shrink for one in scans.values()})
        if len(factors) > 1:
            raise CtmarError(f"scans must have one scanner.faults.shrink, got {factors}")
        self.by_name = {name: Station(one, grid, beam, backend) for name, one in scans.items()}
        self._round: Sequence[str] = [name for name, one in scans.items() for _ in range(one.parts)]

    def name(self, index: int) -> str:
        """Where a case is scanned."""
        rounds, place = divmod(index, len(self._round))
        return self._round[np.random.default_rng(rounds).permutation(len(self._round))[place]]

    def at(self, index: int) -> Station:
        """The same itself."""
        return self.by_name[self.name(index)]


def _smaller(acquisition: Rays, shrink: float) -> Rays:
    if isinstance(acquisition, HelicalScan):
        return replace(acquisition, fan=smaller(acquisition.fan, shrink))
    return None if acquisition is None else smaller(acquisition, shrink)
