"""From a case's number to its sample: body, scene, acquisition, fills, reference."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ctmar.anatomy import Anatomy, AnatomySource
from ctmar.anatomy.masks import body_mask
from ctmar.case import Case, Scan, Truth
from ctmar.data.scanning import Scanning, Stations
from ctmar.data.setup import require_covers
from ctmar.data.source import RAW, Source
from ctmar.data.threads import one_thread
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.methods.base import Method, with_fills
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Scanner
from ctmar.physics.expectation import Expectation
from ctmar.physics.gantries import Gantry, HelicalScan
from ctmar.physics.materials import named
from ctmar.scenes.coverage import require_cover
from ctmar.scenes.generators import SceneGenerator
from ctmar.scenes.scene import Scene, SceneSlices
from ctmar.stored import found_scan
from ctmar.units import STORED_MAX_HU, STORED_MIN_HU, hu_to_mu, mu_to_hu

LEAST_METAL = 0.1
"""Share of a pixel that metal takes up for the pixel to count as metal."""


class Simulator:
    """Case ``index`` of a split, always the same one.

    A case depends on ``(seed, split, index)`` and on the arguments below, on nothing else; its
    centre slice is the same bits whether it is simulated alone or with its neighbours.

    Args:
        anatomy: Where bodies come from.
        generator: What puts metal into them.
        scanner: What scans them.
        grid: Pixels of the reconstruction.
        beam: Rays of the sinogram.
        seed: Seed of the data set.
        slices: 3 adjacent slices, or 1: the centre alone.
        source: What sinogram and metal come from.
        fills: Methods whose completions travel with each scan, by name.
        filter: FBP filter of the reference and of the images that metal is segmented from; of stored images
            a scan's own comes first.
        backend: Projector backend.
        acquisition: The scanner's own geometry, whose sinograms are rebinned to ``beam``; None scans with
            ``beam`` itself.
        scans: Ways to scan by name, dealt over the cases, in place of ``scanner`` and ``acquisition``. Bodies
            and metal are the same whatever scans them.

    Raises:
        CtmarError: If a value is not allowed, or the detector does not cover the image.
    """

    def __init__(
        self,
        anatomy: AnatomySource,
        generator: SceneGenerator,
        scanner: Scanner,
        grid: ImageGrid,
        beam: ParallelBeam,
        seed: int = 0,
        slices: int = 3,
        source: Source = RAW,
        fills: Mapping[str, Method] | None = None,
        filter: str = "ram-lak",
        backend: str = "auto",
        acquisition: FanBeam | HelicalScan | None = None,
        scans: Mapping[str, Scanning] | None = None,
    ) -> None:
        if slices not in (1, 3):
            raise CtmarError(f"slices must be 1 or 3, got {slices!r}")
        _require("anatomy", anatomy, "pick(split, index)")
        _require("data.generator", generator, "sample(anatomy, slices, rng)")
        require_covers(beam, grid)
        self.anatomy, self.generator = anatomy, generator
        self.seed, self.slices, self.source = seed, slices, source
        self.fills, self.filter = dict(fills or {}), filter
        self._dealt = bool(scans)
        self._stations = Stations(scans or {"": Scanning(scanner, acquisition)}, grid, beam, backend)
        for station in self._stations.by_name.values():
            for material in getattr(generator, "materials", ()):
                named(material, station.scanner.materials)
        first = self._stations.at(0)
        self.ray = RayTransform(first.grid, first.beam, backend)

    @property
    def scanner(self) -> Scanner:
        """What scans the first case; every case, where ``scans`` names no others."""
        return self.scanner_of(0)

    def scanner_of(self, index: int) -> Scanner:
        """What scans a case."""
        return self._stations.at(index).scanner

    @property
    def kvp(self) -> float | None:
        """The tube voltage of all cases in kV; None for a beam of one energy, and for several."""
        voltages = {station.scanner.kvp for station in self._stations.by_name.values()}
        return voltages.pop() if len(voltages) == 1 else None

    def count(self, split: str) -> int | None:
        """As many cases of a split as are asked for."""
        return None

    def scene(self, split: str, index: int) -> Scene:
        """The scene of a case, before anything is scanned."""
        anatomy, slices = _picked(self.anatomy.pick(split, index))
        body = _body(anatomy)
        station = self._stations.at(index)
        require_cover(anatomy, station.lies_on, body, slices)
        scene = self.generator.sample(anatomy, slices, np.random.default_rng(self._seed(split, index, 0)))
        if not isinstance(scene, Scene):
            raise CtmarError(f"a generator must give a Scene, got {type(scene).__name__}")
        for part in scene.parts:
            named(part.material, station.scanner.materials)
        return scene

    def scan(
        self, scene: Scene, noise: Sequence[np.random.SeedSequence], index: int = 0
    ) -> tuple[Acquisition, SceneSlices, NDArray[np.float32]]:
        """What the scanner measures of a scene's slices.

        Args:
            scene: The scene. Beyond its volume the outermost slice goes on.
            noise: One seed a slice, 1 or 3 of them as configured.
            index: The case whose scanner it is.

        Returns:
            The scan; the slices on the finer grid; and the metal's share of each of its pixels as the slices
            show it, their neighbours' metal included where the scan reaches it.
        """
        station = self._stations.at(index)
        return self._scanned(station.gantry, station.lies_on, scene, noise)

    def _scanned(
        self, gantry: Gantry, lies_on: ImageGrid, scene: Scene, noise: Sequence[np.random.SeedSequence]
    ) -> tuple[Acquisition, SceneSlices, NDArray[np.float32]]:
        center, spacing = scene.center_slice, scene.anatomy.spacing_mm[2]
        wanted = [center + offset for offset in self._offsets]
        held = [
            min(max(place, 0), len(scene.anatomy.hu) - 1) for place in gantry.slices(center, wanted, spacing)
        ]
        distinct = sorted(set(held))
        cut = scene.slices([place - center for place in distinct], lies_on)
        whole = cut.take([distinct.index(place) for place in held])
        scan = gantry.acquire(whole.hu, whole.metal, center, wanted, spacing, noise)
        occupied = sum(whole.metal.values(), np.zeros_like(whole.hu))
        metal = np.einsum("wp,pij->wij", gantry.sensitivity(center, wanted, spacing), occupied)
        return scan, cut.take([distinct.index(place) for place in wanted]), metal

    def expected(self, split: str, index: int) -> Expectation:
        """What the scan of a case reads without noise, whatever :attr:`source` makes of it; as much work as
        two scans. A case's slices, its metal and all that its scanner does are :meth:`case`'s own.
        """
        with one_thread():
            station, scene = self._stations.at(index), self.scene(split, index)
            scan, *_ = self._scanned(station.expecting, station.lies_on, scene, self._noise(split, index))
            return Expectation.of(scan)

    def case(self, split: str, index: int) -> Case:
        """A case as a batch of one; made on one thread of torch's.

        On several, sums are taken in another order and their last bits differ. Cases share cores as
        processes do.
        """
        with one_thread():
            return self._case(split, index)

    def _case(self, split: str, index: int) -> Case:
        scene = self.scene(split, index)
        scan, cut, metal = self.scan(scene, self._noise(split, index), index)
        scanner = self.scanner_of(index)
        reference_hu = mu_to_hu(self.ray.fbp(scan.ideal, self._filter_of(index)), scanner.mu_water)
        # Means over the finer grid's pixels.
        metal_mask = avg_pool2d(torch.from_numpy(metal), scanner.oversampling) > LEAST_METAL
        spacing_mm = self.ray.grid.spacing_mm * scanner.shrink
        body = torch.from_numpy(body_mask(reference_hu.numpy(), spacing_mm))
        seen = Scan(
            measured=scan.measured[None],
            metal_trace=scan.metal_trace[None],
            metal_mask=metal_mask[None],
            metal_path_mm=scan.metal_path_mm[None],
            mu_water=torch.tensor([scanner.mu_water]),
            ray=self.ray,
            kvp=() if scanner.kvp is None else (scanner.kvp,),
        )
        clean = scan.clean[None]
        if self.source.metal_from == "threshold":
            # True metal that is not found is still no tissue: it leaves the scored body.
            body = body & ~metal_mask
            extended = self._is_extended(split, index)
            seen, clean = self._as_found(seen, clean, scanner, self._filter_of(index), extended)
        told = {"body": scene.anatomy.name, "source": self.source.kind}
        told["metal_from"] = self.source.metal_from
        if self._dealt:
            told["scan"] = self._stations.name(index)
        truth = Truth(
            clean=clean,
            reference_hu=reference_hu[None],
            body_mask=body[None],
            tissue_labels=_labels(cut, scanner.oversampling)[None],
            parameters=({**scene.parameters, **told},),
        )
        return Case(with_fills(replace(seen, case_id=(f"{split}-{index:05d}",)), self.fills.values()), truth)

    @property
    def _offsets(self) -> tuple[int, ...]:
        """The slices of a case, counted from its centre."""
        return (-1, 0, 1) if self.slices == 3 else (0,)

    def _filter_of(self, index: int) -> str:
        """The FBP filter of a case's images."""
        own = self._stations.at(index).filter if self.source.kind == "image" else None
        return own or self.filter

    def _is_extended(self, split: str, index: int) -> bool:
        """Whether a case's stored images hold the metal's own HU."""
        if self.source.extended_scale is not None:
            return self.source.extended_scale
        return bool(np.random.default_rng(self._seed(split, index, 4)).integers(2))

    def _as_found(
        self, scan: Scan, clean: Tensor, scanner: Scanner, filter: str, extended: bool
    ) -> tuple[Scan, Tensor]:
        """The scan with its metal found in stored images, and as these show it if so configured; the target.

        Rays through metal that is not found count as untouched, in the target as well.
        """
        mu_water = scanner.mu_water
        stored, stored_clean = (
            self._stored(sinogram, mu_water, filter, extended) for sinogram in (scan.measured, clean)
        )
        found = found_scan(stored, self.ray, mu_water, self.source.metal_threshold_hu, scanner.kvp).scan
        if self.source.kind == "raw":
            found = replace(found, measured=scan.measured, fills={}, deviations={}, clipped=())
        else:
            clean = self.ray.forward(hu_to_mu(stored_clean, mu_water))[None]
        return found, torch.where(found.metal_trace, clean, found.measured)

    def _stored(self, sinogram: Tensor, mu_water: float, filter: str, extended: bool) -> Tensor:
        """The reconstruction as a scanner stores it: whole HU, cut off at 12 bits or not."""
        image = mu_to_hu(self.ray.fbp(sinogram[0], filter), mu_water).round()
        return image if extended else image.clamp(STORED_MIN_HU, STORED_MAX_HU)

    def _noise(self, split: str, index: int) -> list[np.random.SeedSequence]:
        """The seed of each slice."""
        return [self._seed(split, index, 2 + offset) for offset in self._offsets]

    def entropy(self, split: str, index: int) -> list[int]:
        """The numbers that every random stream of a case is seeded by."""
        return [self.seed, zlib.crc32(split.encode()), index]

    def _seed(self, split: str, index: int, stream: int) -> np.random.SeedSequence:
        """An independent stream: 0 for the scene, 1, 2, 3 for the slices' noise, 4 for the stored scale."""
        return np.random.SeedSequence(self.entropy(split, index), spawn_key=(stream,))


def _labels(cut: SceneSlices, step: int) -> Tensor:
    """Labels at the middle of so many finer pixels."""
    return torch.from_numpy(np.ascontiguousarray(cut.labels[:, step // 2 :: step, step // 2 :: step]))


def _require(key: str, given: object, call: str) -> None:
    """Refuses what lacks the method that it is there for."""
    if not callable(getattr(given, call.partition("(")[0], None)):
        raise CtmarError(f"{key} must have a method {call}, got {type(given).__name__}")


def _picked(given: Any) -> tuple[Anatomy, range]:
    """What a source of bodies gave, if it is a body and slices of it."""
    fits = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Anatomy)
    if not (fits and isinstance(given[1], range) and len(given[1])):
        came = ", ".join(type(one).__name__ for one in (given if isinstance(given, tuple) else (given,)))
        raise CtmarError(f"pick must give an Anatomy and a range of its slices, not empty, got {came}")
    body: tuple[Anatomy, range] = given
    if min(body[1]) < 0 or max(body[1]) >= len(body[0].hu):
        raise CtmarError(
            f"a source's slices must lie in 0 to {len(body[0].hu) - 1} of {body[0].name}, got {body[1]}"
        )
    return body


@lru_cache(maxsize=32)
def _body(anatomy: Anatomy) -> np.ndarray:
    """The body mask of a whole volume, found once."""
    return body_mask(anatomy.hu, anatomy.spacing_mm)
