"""Fitting an image network behind a completion: alone, or together with it.

The network is fitted to the FBP of the ``clean`` sinogram, not to ``reference_hu``: off the trace both
sinograms carry the same noise, so what is left to learn is what the completion got wrong. Against the
noise-free reference it would be paid for smoothing the noise of measured rays. Errors are still reported
against ``reference_hu``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.learned.network import NetworkMethod
from ctmar.learned.refined import ERROR_HU, Refinement
from ctmar.methods.base import filled

REFINEMENTS = ("none", "after", "joint")
"""``after``: the image network alone is fitted, behind a generator that stays as it is; ``joint``: both."""


@dataclass(frozen=True)
class Refine:
    """Whether and how an image network is fitted.

    Attributes:
        kind: From :data:`REFINEMENTS`.
        channels: Of the image network's levels.
        norm: Its norm.
        weight: With ``joint``, of the image's mean square error in units of 100 HU, added to the loss.
        filter: Of the FBP that it is fitted to.
    """

    kind: str = "none"
    channels: Sequence[int] = (16, 32, 64)
    norm: str = "batch"
    weight: float = 0.1
    filter: str = "ram-lak"

    def __post_init__(self) -> None:
        if self.kind not in REFINEMENTS:
            raise CtmarError(f"refine must be one of {', '.join(REFINEMENTS)}, got {self.kind!r}")
        if not self.weight > 0:
            raise CtmarError(f"refine_weight must be positive, got {self.weight!r}")

    def network(self, slices: int) -> Refinement | None:
        """The image network, if there is to be one."""
        return None if self.kind == "none" else Refinement(slices, self.channels, self.norm, self.filter)


def refined_errors(method: NetworkMethod, case: Case, completed: Tensor) -> tuple[Tensor, Tensor]:
    """Mean square error of the completion's and of the refined image, in units of 100 HU.

    Against the FBP of ``clean``, over the pixels of the batch in the body outside the metal.

    Args:
        method: With a refinement.
        case: The whole detector, images as the sinograms are.
        completed: Completed sinogram; gradients go back to it.
    """
    network, scan = method.refinement, case.scan
    assert network is not None
    completed_hu = network.fbp_hu(scan, completed)
    with torch.no_grad():
        known = (filled(scan, method.fill), scan.measured, case.truth.clean)
        fill_hu, uncorrected_hu, target = (network.fbp_hu(scan, sinogram) for sinogram in known)
    refined_hu = network(scan, completed_hu, fill_hu, uncorrected_hu)
    region = scored_region(case)
    count = region.sum().clamp(min=1)
    both = (completed_hu, refined_hu)
    first, second = (torch.where(region, (x - target) / ERROR_HU, 0.0).square().sum() / count for x in both)
    return first, second


def scored_region(case: Case) -> Tensor:
    """Where the image's error counts: in the body outside the metal."""
    return case.truth.body_mask & ~case.scan.metal_mask
