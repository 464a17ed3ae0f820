"""The cases of a published set: to score methods on, and to train on. The same for every set."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ctmar.case import Case
from ctmar.data import CaseSetup
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam, smaller
from ctmar.operators import RayTransform
from ctmar.pairs.published.case import FieldCase, field_case
from ctmar.pairs.published.files import FieldFiles
from ctmar.pairs.splits import divided, of_split


class PublishedCases(Protocol):
    """What the benchmark asks of a published set: made with its YAML's keys, ``setup`` and ``acquisition``.

    Attributes:
        images: Names of the images that the set brings itself: rows of the table.
        ceiling: Of these, the set's reconstruction without metal; None where it brings none.
    """

    @property
    def images(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def ceiling(self) -> str | None: ...  # noqa: D102

    def __len__(self) -> int:
        """Cases."""
        ...

    def case(self, index: int) -> Case:
        """Case ``index`` as a batch of one."""
        ...

    def image_hu(self, name: str, case_id: str) -> Tensor:
        """One of :attr:`images` of a case by its name, ``(row, column)`` in HU."""
        ...


class PublishedFiles:
    """The cases of a set for the benchmark: every slice with every metal.

    Args:
        setup: The run's, in the set's small world.
        acquisition: Rays of the files' sinograms, in the same millimetres.
        files: The set's.

    Raises:
        CtmarError: No slice has a metal.
    """

    def __init__(self, setup: CaseSetup, acquisition: FanBeam | None, files: FieldFiles) -> None:
        self.setup = replace(setup, ray=_off_axis(setup.ray, files))
        self.acquisition, self.files = acquisition, files
        self.images, self.ceiling, self.left_out = files.images, files.ceiling, files.left_out
        self._last: tuple[tuple[str, int], FieldCase] | None = None
        self._places = [(name, metal) for name in files.slices() for metal in files.metals(name)]
        if not self._places:
            raise CtmarError(f"a slice of {files.title} must have {files.none_found()}, got none")
        self._named = {files.case_id(*place): place for place in self._places}
        if len(self._named) < len(self._places):
            raise CtmarError(f"cases of {files.title} must have a name each, got one that two have")

    def __len__(self) -> int:
        """Slices times metals."""
        return len(self._places)

    def case(self, index: int) -> Case:
        """Case ``index``, by the names of slices and the metal's number."""
        return field_case(self.setup, self._read(self._places[index]), self.acquisition)

    def image_hu(self, name: str, case_id: str) -> Tensor:
        """An image of the files in HU."""
        place = self._named.get(case_id)
        image = None if place is None else self._read(place).images.get(name)
        if image is None:
            raise CtmarError(f"the set must hold {name} of {case_id}, it does not")
        return image

    def _read(self, place: tuple[str, int]) -> FieldCase:
        """A case's files; the last ones are kept, for a case is asked for together with its images."""
        if self._last is None or self._last[0] != place:
            self._last = place, self.files.read(*place)
        return self._last[1]


class PairedFiles:
    """Slices of a set with metal and without as a source of cases to train on, divided by patient.

    A case is the same as the benchmark's of that slice and metal (:func:`field_case`): projections as
    measured where the files have them, rebinned to the run's parallel beams. Cases are in the millimetres of
    the set's world, in which ``ray`` of this source lies; the run's geometry is in the patients'.

    Args:
        setup: The run's, of the set's pixels.
        acquisition: Rays of the files' sinograms, in the patients' millimetres; others are refused.
        files: The set's.
        drawn: How many of its metals a slice gets, drawn by the setup's seed and the slice's name alone; None
            for all. A slice that has fewer gets those.
        splits: Shares of the patients, or lists of names, see :func:`ctmar.pairs.splits.divided`.
        shrink: Times that the world of the run's scanner is smaller than its patients.

    Raises:
        CtmarError: Another geometry than the set's, splits that do not fit or tear patients apart.
    """

    def __init__(
        self,
        setup: CaseSetup,
        acquisition: FanBeam | Mapping[str, Any] | None,
        files: FieldFiles,
        drawn: int | None = None,
        splits: Mapping[str, Any] | None = None,
        shrink: float = 1.0,
    ) -> None:
        if drawn is not None and drawn < 1:
            raise CtmarError(f"data.drawn must be 1 or more metals a slice, or null for all, got {drawn!r}")
        _require_the_set_s(files, setup, acquisition, shrink)
        fan = acquisition if isinstance(acquisition, FanBeam) and files.rays else None
        self._fan = None if fan is None else smaller(fan, shrink)
        ray = RayTransform(
            smaller(setup.ray.grid, shrink), smaller(setup.ray.beam, shrink), setup.ray.backend
        )
        self.ray = _off_axis(ray, files)
        self.setup = replace(setup, ray=self.ray, mu_water=files.mu_water)
        self.kvp, self.fills = setup.kvp, setup.fills
        self._files, self._drawn = files, drawn
        self._names = divided(files.slices(), splits, files.patient)
        self._cases: dict[str, list[tuple[str, int]]] = {}

    def count(self, split: str) -> int:
        """Cases of a split.

        Raises:
            CtmarError: There is none.
        """
        return len(self.cases(split))

    def cases(self, split: str) -> list[tuple[str, int]]:
        """The slice and the metal's number of each case of a split.

        Raises:
            CtmarError: There is none.
        """
        if split not in self._cases:
            names = of_split(self._names, split)
            found = [(name, metal) for name in names for metal in self._metals(name)]
            if not found:
                told = self._files.none_found()
                raise CtmarError(f"split {split} must hold a slice with {told}, got none in {len(names)}")
            self._cases[split] = found
        return self._cases[split]

    def case(self, split: str, index: int) -> Case:
        """Case ``index`` of a split, by the names of the slices and the metal's number."""
        return field_case(self.setup, self._files.read(*self.cases(split)[index]), self._fan)

    def _metals(self, name: str) -> list[int]:
        """The metals that a slice gets: the same, whatever other slices there are."""
        there = self._files.metals(name)
        if self._drawn is None or self._drawn >= len(there):
            return there
        random = np.random.default_rng((self.setup.seed, zlib.crc32(name.encode())))
        return sorted(int(metal) for metal in random.choice(there, self._drawn, replace=False))


def _off_axis(ray: RayTransform[ParallelBeam], files: FieldFiles) -> RayTransform[ParallelBeam]:
    """The rays about the axis that the set's images were reconstructed about."""
    if files.center_px == (0.0, 0.0):
        return ray
    right, up = (offset * ray.grid.spacing_mm for offset in files.center_px)
    return RayTransform(ImageGrid(ray.grid.shape, ray.grid.spacing_mm, (right, up)), ray.beam, ray.backend)


def _require_the_set_s(files: FieldFiles, setup: CaseSetup, fan: Any, shrink: float) -> None:
    """A CtmarError where a run's pixels, rays or scanner are not those of the files."""
    if setup.slices != 1:
        raise CtmarError(f"{files.title} has single slices: model.slices must be 1, got {setup.slices}")
    grid, option = setup.ray.grid, files.option
    if grid.shape != files.shape or not np.isclose(grid.spacing_mm, files.pixel_mm, rtol=1e-3):
        got = f"{grid.shape[0]} × {grid.shape[1]} pixels of {grid.spacing_mm:g} mm"
    elif files.rays and not _fits(fan, files.rays):
        got = f"an acquisition of {fan.shape if isinstance(fan, FanBeam) else 'other rays'}"
    elif not np.isclose(shrink, files.shrink, rtol=1e-3):
        got = f"a scanner whose patients are {shrink:g} times too small"
    else:
        return
    wanted = f"geometry={option} scanner={option}, which data={option} brings"
    raise CtmarError(f"{files.title} must have {wanted}, got {got}")


def _fits(fan: Any, rays: tuple[int, int | None]) -> bool:
    views, bins = rays
    return isinstance(fan, FanBeam) and fan.num_angles == views and bins in (None, fan.det_count)
