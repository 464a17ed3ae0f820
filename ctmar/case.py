"""What a method may see of a case, and what only scoring and training see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform
from ctmar.units import mu_to_hu

Move = Callable[[Tensor], Tensor]
SINOGRAMS = ("measured", "metal_trace", "metal_path_mm")
OF_FILLS = ("fills", "deviations")
"""Further sinograms of a scan, by the name of a method."""


@dataclass(frozen=True)
class Scan:
    """A batch of scans: all that a hospital could have of them, and nothing that tells the truth.

    Sinograms are ``(batch, slice, angle, detector)``, images ``(batch, slice, row, column)``. The slice axis
    holds 1 slice, or 3 adjacent ones with the scored one in the centre; a stack may hold more.

    Attributes:
        measured: Line integrals with metal; float32, dimensionless, finite.
        metal_trace: Bool, True on the rays that metal spoils.
        metal_mask: Bool image, True where a pixel holds metal.
        metal_path_mm: Length of each ray inside metal in mm, float32, 0 off the trace. Of raw cases it is
            the scene's own.
        mu_water: Attenuation of water in 1/mm that ties HU to 1/mm, ``(batch,)``.
        ray: Ray transform between the images and the sinograms.
        kvp: Tube voltage of each scan in kV, None where it is not known; empty where none is.
        fills: Completions at hand by the name of their method: sinograms, bit-equal to ``measured`` off the
            trace.
        case_id: What each scan is called.
        clipped: Whether each scan comes from an image whose values are cut off in metal, as those of 12 bits
            at 3071 HU; empty where none does.
        deviations: Standard deviations of those fills whose method tells one: sinograms, 0 off the trace.
    """

    measured: Tensor
    metal_trace: Tensor
    metal_mask: Tensor
    metal_path_mm: Tensor
    mu_water: Tensor
    ray: RayTransform[ParallelBeam]
    kvp: tuple[float | None, ...] = ()
    fills: dict[str, Tensor] = field(default_factory=dict)
    case_id: tuple[str, ...] = ()
    clipped: tuple[bool, ...] = ()
    deviations: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Scans in the batch."""
        return len(self.measured)

    @property
    def slices(self) -> int:
        """Slices of each scan."""
        return self.measured.shape[1]

    def image_hu(self, sinogram: Tensor, filter: str = "ram-lak") -> Tensor:
        """FBP of a sinogram of this scan's shape in HU, ``(batch, slice, row, column)``."""
        image_mu = self.ray.fbp(sinogram.float(), filter)
        return mu_to_hu(image_mu / self.mu_water[:, None, None, None], 1.0)

    def sinograms(self, move: Move) -> "Scan":
        """The scans with every sinogram, those of fills among them, put through ``move``."""
        changed: dict[str, Any] = {name: move(getattr(self, name)) for name in SINOGRAMS}
        for of_fills in OF_FILLS:
            changed[of_fills] = {name: move(one) for name, one in getattr(self, of_fills).items()}
        return replace(self, **changed)

    def take(self, slices: slice) -> "Scan":
        """Some slices of each scan."""
        return replace(self.sinograms(lambda x: x[:, slices]), metal_mask=self.metal_mask[:, slices])

    def one(self, index: int) -> "Scan":
        """A scan of the batch, as a batch of one."""
        only = slice(index, index + 1)
        changed: dict[str, Any] = {"metal_mask": self.metal_mask[only], "mu_water": self.mu_water[only]}
        changed |= {"case_id": self.case_id[only], "clipped": self.clipped[only], "kvp": self.kvp[only]}
        return replace(self.sinograms(lambda x: x[only]), **changed)

    def center(self) -> "Scan":
        """The centre slice of each scan."""
        return self.take(middle_of(self.slices))

    def bins(self, window: slice) -> "Scan":
        """Some bins of the detector; images and ray transform stay those of the whole one."""
        return self.sinograms(lambda x: x[..., window])

    def to(self, device: torch.device | str) -> "Scan":
        """The scans on a device."""
        moved = self.sinograms(lambda x: x.to(device))
        return replace(moved, metal_mask=self.metal_mask.to(device), mu_water=self.mu_water.to(device))


@dataclass(frozen=True)
class Truth:
    """What is known of simulated scans beyond what was measured: for scoring and training alone.

    Attributes:
        clean: The target: the same acquisition without metal; bit-equal to ``measured`` off the trace.
        reference_hu: FBP of the noise-free, metal-free acquisition in HU, float32.
        body_mask: Bool image, True inside the patient (not the table, not the air around).
        tissue_labels: uint8 image of TotalSegmentator v2 ids, 0 where nothing is labelled.
        parameters: Everything that was sampled for each case; plain types.
    """

    clean: Tensor
    reference_hu: Tensor
    body_mask: Tensor
    tissue_labels: Tensor
    parameters: tuple[dict[str, Any], ...] = ()

    def images(self, move: Move) -> "Truth":
        """The truth with every image put through ``move``."""
        changed: dict[str, Any] = {
            n: move(getattr(self, n)) for n in ("reference_hu", "body_mask", "tissue_labels")
        }
        return replace(self, **changed)

    def take(self, slices: slice) -> "Truth":
        """Some slices of each case."""
        return replace(self.images(lambda x: x[:, slices]), clean=self.clean[:, slices])

    def to(self, device: torch.device | str) -> "Truth":
        """The truth on a device."""
        return replace(self.images(lambda x: x.to(device)), clean=self.clean.to(device))


@dataclass(frozen=True)
class Case:
    """A batch of simulated cases; a single one is a batch of one.

    Attributes:
        scan: What a method may see.
        truth: What it may not.
    """

    scan: Scan
    truth: Truth

    def __len__(self) -> int:
        """Cases in the batch."""
        return len(self.scan)

    def take(self, slices: slice) -> "Case":
        """Some slices of each case."""
        return Case(self.scan.take(slices), self.truth.take(slices))

    def one(self, index: int) -> "Case":
        """A case of the batch, as a batch of one."""
        only = slice(index, index + 1)
        truth = replace(self.truth.images(lambda x: x[only]), clean=self.truth.clean[only])
        return Case(self.scan.one(index), replace(truth, parameters=self.truth.parameters[only]))

    def center(self) -> "Case":
        """The centre slice of each case."""
        return self.take(middle_of(self.scan.slices))

    def to(self, device: torch.device | str) -> "Case":
        """The cases on a device."""
        return Case(self.scan.to(device), self.truth.to(device))


def middle_of(slices: int) -> slice:
    """The centre one of so many slices."""
    return slice(slices // 2, slices // 2 + 1)


def collate(cases: Sequence[Case]) -> Case:
    """Cases of one geometry as one batch.

    Raises:
        CtmarError: They are of several geometries, or hold other fills.
    """
    scans, truths = [case.scan for case in cases], [case.truth for case in cases]
    ray = scans[0].ray
    if any((scan.ray.grid, scan.ray.beam) != (ray.grid, ray.beam) for scan in scans):
        raise CtmarError("cases of a batch must be of one geometry, got several")
    if any(_names(scan) != _names(scans[0]) for scan in scans):
        raise CtmarError("cases of a batch must have the same fills, got several")

    def joined(parts: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
        return {name: torch.cat([getattr(part, name) for part in parts]) for name in names}

    scan = replace(
        scans[0],
        **joined(scans, (*SINOGRAMS, "metal_mask", "mu_water")),
        fills=_joined([scan.fills for scan in scans]),
        deviations=_joined([scan.deviations for scan in scans]),
        case_id=tuple(name for scan in scans for name in scan.case_id),
        clipped=_each(scans, "clipped", False),
        kvp=_each(scans, "kvp", None),
    )
    truth = Truth(
        **joined(truths, ("clean", "reference_hu", "body_mask", "tissue_labels")),
        parameters=tuple(told for truth in truths for told in truth.parameters),
    )
    return Case(scan, truth)


def _joined(each: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Batches of scans, by method, as one."""
    return {name: torch.cat([of_scan[name] for of_scan in each]) for name in each[0]}


def _names(scan: Scan) -> list[set[str]]:
    """Of what methods a scan has a fill, and of what a deviation."""
    return [set(getattr(scan, kind)) for kind in OF_FILLS]


def _each(scans: Sequence[Scan], name: str, usual: Any) -> tuple[Any, ...]:
    """What is told of each scan of a batch; empty where all are as usual."""
    each = tuple(one for scan in scans for one in getattr(scan, name) or (usual,) * len(scan))
    return () if all(one == usual for one in each) else each
