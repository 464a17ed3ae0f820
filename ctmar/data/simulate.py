"""From a case's number to its sample: body, scene, acquisition, fills, reference."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ctmar.anatomy import Anatomy, AnatomySource
from ctmar.anatomy.masks import body_mask
from ctmar.completion import linear_interpolation, nmar
from ctmar.data.segmentation import reprojected, stored_image, with_segmented_metal
from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics import Acquisition, Scanner
from ctmar.physics.gantries import HelicalScan, make_gantry
from ctmar.sample import MARSample
from ctmar.scenes.coverage import require_cover
from ctmar.scenes.generators import SceneGenerator
from ctmar.scenes.scene import Scene, SceneSlices
from ctmar.units import mu_to_hu

T = TypeVar("T", ImageGrid, ParallelBeam, FanBeam)

SOURCES = ("raw", "image")
METAL_FROM = ("scene", "threshold")
FILLS = ("li", "nmar")
SPLITS = ("train", "val", "test")
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
        source: ``raw`` gives the scanner's own sinogram; ``image`` what can be had from the stored,
            uncorrected image: its projections, with metal segmented from it.
        metal: Where mask and trace come from: the ``scene``, or a ``threshold`` of the uncorrected
            image (always so for ``source="image"``).
        metal_threshold_hu: That threshold.
        extended_scale: Whether stored images hold the metal's own HU, as an extended scale does, rather than
            end at 3071 HU as 12 bits do.
        fills: Which completions travel with the sample.
        filter: FBP filter of the reference and of the images that metal is segmented from.
        backend: Projector backend.
        acquisition: The scanner's own geometry, whose sinograms are rebinned to ``beam``; None scans with
            ``beam`` itself.

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
        source: str = "raw",
        metal: str = "scene",
        metal_threshold_hu: float = 2500.0,
        extended_scale: bool = False,
        fills: Sequence[str] = ("li", "nmar"),
        filter: str = "ram-lak",
        backend: str = "auto",
        acquisition: FanBeam | HelicalScan | None = None,
    ) -> None:
        for name, value, allowed in (("source", source, SOURCES), ("metal", metal, METAL_FROM)):
            if value not in allowed:
                raise CtmarError(f"data.{name} must be one of {', '.join(allowed)}, got {value!r}")
        for name in fills:
            if name not in FILLS:
                raise CtmarError(f"data.fills must be among {', '.join(FILLS)}, got {name!r}")
        if slices not in (1, 3):
            raise CtmarError(f"slices must be 1 or 3, got {slices!r}")
        if not beam.covers(grid):
            needed = int(np.ceil(np.hypot(*grid.size_mm) / beam.det_spacing_mm))
            raise CtmarError(
                f"the detector must cover the image: det_count of at least {needed} bins of"
                f" {beam.det_spacing_mm:g} mm, got {beam.det_count}"
            )
        self.anatomy, self.generator, self.scanner = anatomy, generator, scanner
        self.seed, self.slices, self.source = seed, slices, source
        self.metal = "threshold" if source == "image" else metal
        self.metal_threshold_hu, self.fills, self.filter = metal_threshold_hu, tuple(fills), filter
        self.extended_scale = extended_scale
        self._lies_on = grid.refine(scanner.oversampling)  # the patient; the rays may be in a smaller world
        grid, beam = smaller(grid, scanner.shrink), smaller(beam, scanner.shrink)
        self.ray = RayTransform(grid, beam, backend)
        if isinstance(acquisition, HelicalScan):
            acquisition = replace(acquisition, fan=smaller(acquisition.fan, scanner.shrink))
        elif acquisition is not None:
            acquisition = smaller(acquisition, scanner.shrink)
        self._gantry = make_gantry(scanner, grid, acquisition, beam, backend)

    def scene(self, split: str, index: int) -> Scene:
        """The scene of a case, before anything is scanned."""
        anatomy, slices = self.anatomy.pick(split, index)
        body = _body(anatomy)
        require_cover(anatomy, self._lies_on, body, slices)
        return self.generator.sample(anatomy, slices, np.random.default_rng(self._seed(split, index, 0)))

    def scan(
        self, scene: Scene, noise: Sequence[np.random.SeedSequence]
    ) -> tuple[Acquisition, SceneSlices, NDArray[np.float32]]:
        """What the scanner measures of a scene's slices.

        Args:
            scene: The scene. Beyond its volume the outermost slice goes on.
            noise: One seed a slice, 1 or 3 of them as configured.

        Returns:
            The scan; the slices on the finer grid; and the metal's share of each of its pixels as the slices
            show it, their neighbours' metal included where the scan reaches it.
        """
        center, spacing = scene.center_slice, scene.anatomy.spacing_mm[2]
        wanted = [center + offset for offset in self._offsets]
        held = [
            min(max(place, 0), len(scene.anatomy.hu) - 1)
            for place in self._gantry.slices(center, wanted, spacing)
        ]
        distinct = sorted(set(held))
        cut = scene.slices([place - center for place in distinct], self._lies_on)
        whole = cut.take([distinct.index(place) for place in held])
        scan = self._gantry.acquire(whole.hu, whole.metal, center, wanted, spacing, noise)
        occupied = sum(whole.metal.values(), np.zeros_like(whole.hu))
        metal = np.einsum("wp,pij->wij", self._gantry.sensitivity(center, wanted, spacing), occupied)
        return scan, cut.take([distinct.index(place) for place in wanted]), metal

    def case(self, split: str, index: int) -> MARSample:
        """The sample of a case, without a batch axis; made on one thread of torch's.

        On several, sums are taken in another order and their last bits differ. Cases share cores as
        processes do.
        """
        with _one_thread():
            return self._case(split, index)

    def _case(self, split: str, index: int) -> MARSample:
        scene = self.scene(split, index)
        noise = [self._seed(split, index, 2 + offset) for offset in self._offsets]
        scan, cut, metal = self.scan(scene, noise)
        mu_water = self.scanner.mu_water
        reference_hu = mu_to_hu(self.ray.fbp(scan.ideal, self.filter), mu_water)
        metal_mask = self._coarse(metal) > LEAST_METAL
        spacing_mm = self.ray.grid.spacing_mm * self.scanner.shrink
        body = torch.from_numpy(body_mask(reference_hu.numpy(), spacing_mm))
        if self.metal == "threshold":
            # True metal that the threshold misses is still no tissue: it leaves the scored body.
            body = body & ~metal_mask
            scan, metal_mask = self._as_segmented(scan)
        return MARSample(
            measured=scan.measured,
            clean=scan.clean,
            metal_trace=scan.metal_trace,
            metal_path_mm=scan.metal_path_mm,
            fills=self._fills(scan, metal_mask),
            reference_hu=reference_hu,
            metal_mask=metal_mask,
            body_mask=body,
            tissue_labels=self._labels(cut),
            mu_water=torch.tensor(mu_water),
            case_id=f"{split}-{index:05d}",  # type: ignore[arg-type]
            parameters={  # type: ignore[arg-type]
                **scene.parameters,
                "body": scene.anatomy.name,
                "source": self.source,
                "metal_from": self.metal,
            },
        )

    @property
    def _offsets(self) -> tuple[int, ...]:
        """The slices of a case, counted from its centre."""
        return (-1, 0, 1) if self.slices == 3 else (0,)

    def _as_segmented(self, scan: Acquisition) -> tuple[Acquisition, Tensor]:
        """The scan with metal found by threshold, and as stored images show it if so configured."""
        mu_water = self.scanner.mu_water
        stored, stored_clean = (
            stored_image(y, self.ray, mu_water, self.filter, self.extended_scale)
            for y in (scan.measured, scan.clean)
        )
        metal_mask = stored > self.metal_threshold_hu
        scan = with_segmented_metal(scan, metal_mask, self.ray, self.scanner.trace_epsilon_mm)
        if self.source == "image":
            scan = reprojected(scan, stored, stored_clean, self.ray, mu_water)
        return scan, metal_mask

    def _fills(self, scan: Acquisition, metal_mask: Tensor) -> dict[str, Tensor]:
        """The completions asked for."""
        interpolated = linear_interpolation(scan.measured, scan.metal_trace)
        made = {"li": interpolated}
        if "nmar" in self.fills:
            parts = zip(scan.measured, scan.metal_trace, metal_mask, interpolated, strict=True)
            # A call a slice: how slices are grouped in a projector may change their last bits.
            made["nmar"] = torch.stack(
                [nmar(x, trace, mask, self.ray, self.scanner.mu_water, li) for x, trace, mask, li in parts]
            )
        return {name: made[name] for name in self.fills}

    def _coarse(self, fine: np.ndarray) -> Tensor:
        """Means over the finer grid's pixels."""
        return avg_pool2d(torch.from_numpy(fine), self.scanner.oversampling)

    def _labels(self, cut: SceneSlices) -> Tensor:
        step = self.scanner.oversampling
        return torch.from_numpy(np.ascontiguousarray(cut.labels[:, step // 2 :: step, step // 2 :: step]))

    def entropy(self, split: str, index: int) -> list[int]:
        """The numbers that every random stream of a case is seeded by."""
        return [self.seed, zlib.crc32(split.encode()), index]

    def _seed(self, split: str, index: int, stream: int) -> np.random.SeedSequence:
        """An independent stream: 0 for the scene, 1, 2, 3 for the slices' noise."""
        return np.random.SeedSequence(self.entropy(split, index), spawn_key=(stream,))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def smaller(geometry: T, factor: float) -> T:
    """A grid or beam whose every length is ``factor`` times smaller; the same counts and angles."""
    if factor == 1.0:
        return geometry
    scaled: dict[str, Any] = {}
    for name in (field.name for field in fields(geometry) if field.name.endswith("_mm")):
        value = getattr(geometry, name)
        scaled[name] = tuple(x / factor for x in value) if isinstance(value, tuple) else value / factor
    return replace(geometry, **scaled)


@lru_cache(maxsize=32)
def _body(anatomy: Anatomy) -> np.ndarray:
    """The body mask of a whole volume, found once."""
    return body_mask(anatomy.hu, anatomy.spacing_mm)
