"""Scanning in the scanner's own geometry: fans and helices, brought to parallel beams afterwards.

Noise, starvation and averaging of sub-rays happen in the scanner's own bins. Rebinning is linear and the
same for all: ``measured``, ``clean``, ``ideal`` and the metal's path go through it alike. Where the wanted
bins and views are coarser than the scanner's, they are means over what falls into them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, HelicalFan, ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.operators.helical import (
    INTERPOLATIONS,
    HelicalTransform,
    covered_share,
    covering_helix,
    rebin_helical_to_parallel,
)
from ctmar.operators.rebinning import rebin_fan_to_parallel
from ctmar.physics.scanner import Acquisition, Scanner

Images = NDArray[np.float32]
Rebin = Callable[[Tensor, str], Tensor]
"""A sinogram and the order of interpolation to the sinogram of parallel beams."""


@dataclass(frozen=True)
class HelicalScan:
    """A single-slice helical protocol.

    Attributes:
        fan: One turn.
        slice_mm: Width of the collimated slice.
        pitch: Table feed a turn in collimated slices.
        method: ``180LI`` or ``360LI``.
    """

    fan: FanBeam
    slice_mm: float
    pitch: float = 1.0
    method: str = "180LI"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.pitch) and self.pitch > 0):
            raise CtmarError(f"pitch must be a positive number, got {self.pitch!r}")
        if self.method not in INTERPOLATIONS:
            raise CtmarError(f"method must be one of {', '.join(INTERPOLATIONS)}, got {self.method!r}")
        HelicalFan(self.fan, self.slice_mm * self.pitch, self.slice_mm, 1)  # refuses what cannot be


class Gantry(Protocol):
    """What moves the tube around the patient: a scan of slices as parallel beams would show them."""

    def slices(self, center: int, wanted: Sequence[int], spacing_mm: float) -> tuple[int, ...]:
        """Places in the volume of the slices that a scan around ``center`` takes in; it may lack some."""
        ...

    def sensitivity(self, center: int, wanted: Sequence[int], spacing_mm: float) -> Images:
        """How much of each slice of :meth:`slices` an image of each wanted one shows; rows sum to 1."""
        ...

    def acquire(
        self,
        hu: Images,
        metal: Mapping[str, Images],
        center: int,
        wanted: Sequence[int],
        spacing_mm: float,
        noise: Sequence[np.random.SeedSequence],
    ) -> Acquisition:
        """Scans the slices of :meth:`slices` and gives those wanted.

        Args:
            hu: ``(slice, H, W)`` CT numbers without metal on the finer grid.
            metal: Volume fraction of each metal, same shape.
            center: The slice in the middle.
            wanted: Places of the slices to give: the centre, and no more than one to either side.
            spacing_mm: Thickness of a slice.
            noise: One seed a wanted slice; a scan of all slices in one takes the centre's.
        """
        ...


def make_gantry(
    scanner: Scanner,
    grid: ImageGrid,
    acquisition: FanBeam | HelicalScan | None,
    parallel: ParallelBeam,
    backend: str = "auto",
) -> Gantry:
    """The gantry of a geometry; None scans with the parallel beams themselves.

    Args:
        scanner: What happens on the rays.
        grid: Pixels of the reconstruction.
        acquisition: The scanner's own rays.
        parallel: The rays wanted.
        backend: Projector backend.

    Raises:
        CtmarError: If the rays leave out part of the circle within the image, or do not fill a turn.
    """
    if acquisition is None:
        return _Circle(scanner, grid, parallel, parallel, backend)
    if not isinstance(acquisition, (FanBeam, HelicalScan)):
        kind = type(acquisition).__name__
        raise CtmarError(f"geometry.acquisition must be null, a FanBeam or a HelicalScan, got a {kind}")
    fan = acquisition if isinstance(acquisition, FanBeam) else acquisition.fan
    within = min((n - 1) * grid.spacing_mm / 2 for n in grid.shape)
    if fan.reach_mm < within:
        raise CtmarError(
            f"the fan must reach the image's edges {within:.1f} mm from the axis, got {fan.reach_mm:.1f} mm"
        )
    if isinstance(acquisition, FanBeam):
        return _Circle(scanner, grid, acquisition, parallel, backend)
    return _Helix(scanner, grid, acquisition, parallel, backend)


class _Circle:
    """Slices scanned one by one."""

    def __init__(
        self,
        scanner: Scanner,
        grid: ImageGrid,
        beam: ParallelBeam | FanBeam,
        parallel: ParallelBeam,
        backend: str,
    ) -> None:
        self.scanner, fine = scanner, scanner.oversampling
        self._fine = RayTransform(grid.refine(fine), beam.refine(fine), backend)
        self._fan = beam if isinstance(beam, FanBeam) else None
        self._dense = dense_beam(beam, parallel) if isinstance(beam, FanBeam) else None

    def slices(self, center: int, wanted: Sequence[int], spacing_mm: float) -> tuple[int, ...]:
        margin = self.scanner.margin_slices
        return tuple(range(wanted[0] - margin, wanted[-1] + margin + 1))

    def sensitivity(self, center: int, wanted: Sequence[int], spacing_mm: float) -> Images:
        return self.scanner.sensitivity(len(wanted))

    def acquire(
        self,
        hu: Images,
        metal: Mapping[str, Images],
        center: int,
        wanted: Sequence[int],
        spacing_mm: float,
        noise: Sequence[np.random.SeedSequence],
    ) -> Acquisition:
        scan = self.scanner.acquire(hu, metal, self._fine, noise)
        fan, dense = self._fan, self._dense
        if fan is None or dense is None:
            return scan
        rebin = lambda x, order: dense.mean(rebin_fan_to_parallel(x, fan, dense.beam, order))  # noqa: E731
        return rebinned(scan, rebin, self.scanner)


class _Helix:
    """All slices in one scan, as a part of one helix through the whole patient.

    The scan is as long for one slice as for three, so that a slice is the same whether alone or not. The
    collimated slice stands in for the scanner's slice profile.
    """

    def __init__(
        self, scanner: Scanner, grid: ImageGrid, scan: HelicalScan, parallel: ParallelBeam, backend: str
    ) -> None:
        self.scanner, self._scan, self._backend = scanner.of_single_slices(), scan, backend
        self._grid = grid.refine(scanner.oversampling)
        self._dense = dense_beam(scan.fan, parallel, interlace=False)

    def _helix(self, center: int, spacing_mm: float) -> HelicalFan:
        scan, ends = self._scan, ((center - 1) * spacing_mm, (center + 1) * spacing_mm)
        feed = scan.pitch * scan.slice_mm
        return covering_helix(scan.fan, feed, scan.slice_mm, ends, self._dense.beam, scan.method)

    def slices(self, center: int, wanted: Sequence[int], spacing_mm: float) -> tuple[int, ...]:
        z, reach = self._helix(center, spacing_mm).z_mm, (self._scan.slice_mm + spacing_mm) / 2
        first = math.floor((z[0] - reach) / spacing_mm + 1e-9) + 1
        last = math.ceil((z[-1] + reach) / spacing_mm - 1e-9) - 1
        return tuple(range(first, last + 1))

    def sensitivity(self, center: int, wanted: Sequence[int], spacing_mm: float) -> Images:
        """On the axis; the mean over the views."""
        helix = self._helix(center, spacing_mm)
        thin = replace(helix, fan=replace(helix.fan, det_count=3, det_offset_mm=0.0))
        places = self.slices(center, wanted, spacing_mm)
        share = np.stack(
            [covered_share(helix.z_mm - place * spacing_mm, helix.slice_mm, spacing_mm) for place in places]
        )
        seen = torch.from_numpy(share)[..., None].expand(*share.shape, 3)
        axis = ParallelBeam(helix.fan.num_angles // 2, 1, helix.fan.iso_spacing_mm)
        rows = [
            rebin_helical_to_parallel(seen, thin, axis, place * spacing_mm, self._scan.method, "linear")
            for place in wanted
        ]
        return torch.stack(rows).mean((-2, -1)).float().numpy()

    def acquire(
        self,
        hu: Images,
        metal: Mapping[str, Images],
        center: int,
        wanted: Sequence[int],
        spacing_mm: float,
        noise: Sequence[np.random.SeedSequence],
    ) -> Acquisition:
        helix = self._helix(center, spacing_mm)
        z = tuple(place * spacing_mm for place in self.slices(center, wanted, spacing_mm))
        fine = HelicalTransform(
            self._grid, helix.refine(self.scanner.oversampling), z, spacing_mm, self._backend
        )
        # To the scanner the volume is one slice: it sees paths alone.
        volume = {name: occupied[None] for name, occupied in metal.items()}
        seed = noise[list(wanted).index(center)]
        scan = self.scanner.acquire(hu[None], volume, fine, [seed])  # type: ignore[arg-type]

        def rebin(sinogram: Tensor, order: str) -> Tensor:
            at = [
                rebin_helical_to_parallel(
                    sinogram[..., 0, :, :],
                    helix,
                    self._dense.beam,
                    place * spacing_mm,
                    self._scan.method,
                    order,
                )
                for place in wanted
            ]
            return self._dense.mean(torch.stack(at, -3))

        return rebinned(scan, rebin, self.scanner)


def rebinned(scan: Acquisition, rebin: Rebin, scanner: Scanner) -> Acquisition:
    """A scan in parallel beams: the trace is where the metal's path is after rebinning.

    Line integrals are interpolated by cubics; the path linearly, which never makes it negative.
    Off the trace ``clean`` is ``measured``, bit for bit.
    """
    measured, clean, ideal = rebin(torch.stack([scan.measured, scan.clean, scan.ideal]), "cubic")
    path = rebin(scan.metal_path_mm, "linear")
    trace = scanner.trace.of(path)
    if not scanner.trace.measures_metal:
        measured = torch.where(trace, 0.0, clean)
    return Acquisition(
        measured=measured,
        clean=torch.where(trace, clean, measured),
        ideal=ideal,
        metal_trace=trace,
        metal_path_mm=torch.where(trace, path, 0.0),
    )


class DenseBeam(NamedTuple):
    """Parallel beams about as dense as a fan's rays, and how they are averaged."""

    beam: ParallelBeam
    """What to rebin to."""
    views: int
    """Of its views in one wanted."""
    bins: int
    """Of its bins in one wanted."""

    def mean(self, dense: Tensor) -> Tensor:
        """``(..., A · views, D · bins)`` to ``(..., A, D)``."""
        split = dense.unflatten(-1, (-1, self.bins)).unflatten(-3, (-1, self.views))
        return split.mean((-3, -1))


def dense_beam(fan: FanBeam, parallel: ParallelBeam, interlace: bool = True) -> DenseBeam:
    """The views and bins within those of ``parallel`` that a fan's own come closest to.

    Only views that are spread evenly over a half turn are means over others.
    """
    spacing = fan.iso_spacing_mm / (2 if interlace and fan.interlaced else 1)
    bins = max(1, round(parallel.det_spacing_mm / spacing))
    even = replace(parallel, angles=None).angles == parallel.angles
    views = max(1, round(fan.num_angles / 2 / parallel.num_angles)) if even else 1
    fine = parallel.refine(bins)
    step = math.pi / (parallel.num_angles * views)
    shifts = (np.arange(views) - (views - 1) / 2) * step
    angles = tuple(float(a) for a in (parallel.theta[:, None] + shifts).ravel())
    return DenseBeam(replace(fine, num_angles=len(angles), angles=angles), views, bins)
