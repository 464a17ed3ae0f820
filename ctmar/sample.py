"""MARSample: the one contract between data and models."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

SINOGRAM_FIELDS = ("measured", "clean", "metal_trace", "metal_path_mm")
IMAGE_FIELDS = ("reference_hu", "metal_mask", "body_mask", "tissue_labels")


class MARSample(NamedTuple):
    """A batch of cases: sinograms ``(batch, slice, angle, detector)``, images ``(batch, slice, row, col)``.

    The slice axis holds 1 slice, or 3 adjacent ones with the scored one in the centre. A single
    case has the same fields without the batch axis, and ``case_id`` and ``parameters`` unlisted.
    """

    measured: Tensor
    """Line integrals as the scanner gives them, with metal; float32, dimensionless, finite."""
    clean: Tensor
    """The target: the same acquisition without metal; bit-equal to ``measured`` off the trace."""
    metal_trace: Tensor
    """Bool, True on the rays that metal spoils, dilated by one bin."""
    metal_path_mm: Tensor
    """Length of each ray inside metal in mm, float32, 0 off the trace."""
    fills: dict[str, Tensor]
    """Completions by name (``li``, ``nmar``): sinograms, bit-equal to ``measured`` off the trace."""
    reference_hu: Tensor
    """FBP of the noise-free, metal-free acquisition in HU, float32."""
    metal_mask: Tensor
    """Bool image, True where a pixel holds metal."""
    body_mask: Tensor
    """Bool image, True inside the patient (not the table, not the air around)."""
    tissue_labels: Tensor
    """uint8 image of TotalSegmentator v2 ids, 0 where nothing is labelled."""
    mu_water: Tensor
    """Attenuation of water in 1/mm that ties HU to 1/mm; shape ``(batch,)``."""
    case_id: list[str]
    """``split-index`` of each case."""
    parameters: list[dict[str, Any]]
    """Everything that was sampled for each case; plain types."""

    def center(self) -> "MARSample":
        """The same cases with the centre slice alone."""
        middle = self.measured.shape[-3] // 2
        return self._map(lambda x: x[..., middle : middle + 1, :, :])

    def _map(self, take: Any) -> "MARSample":
        changed = {name: take(getattr(self, name)) for name in SINOGRAM_FIELDS + IMAGE_FIELDS}
        return self._replace(**changed, fills={name: take(fill) for name, fill in self.fills.items()})


def collate(cases: list[MARSample]) -> MARSample:
    """Single cases of one shape into a batch."""
    fields = SINOGRAM_FIELDS + IMAGE_FIELDS + ("mu_water",)
    stacked = {name: torch.stack([getattr(case, name) for case in cases]) for name in fields}
    fills = {name: torch.stack([case.fills[name] for case in cases]) for name in cases[0].fills}
    return MARSample(
        **stacked,
        fills=fills,
        case_id=[case.case_id for case in cases],  # type: ignore[misc]
        parameters=[case.parameters for case in cases],  # type: ignore[misc]
    )
