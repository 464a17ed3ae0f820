"""Linear interpolation across the metal trace (LI)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.methods.base import Classical


@dataclass(frozen=True)
class LI(Classical):
    """Linear interpolation (:func:`linear_interpolation`)."""

    name = "li"

    def trace(self, scan: Scan) -> Tensor:
        """LI of every view."""
        return linear_interpolation(scan.measured, scan.metal_trace)


def linear_interpolation(sinogram: Tensor, metal_trace: Tensor) -> Tensor:
    """Bridges each run of the trace, view by view, by a straight line between its two neighbours.

    Kalender, Hebel & Ebersberger, Radiology 164:576 (1987). A run that touches the detector's edge
    takes the value of its one neighbour; a view that is all trace becomes zero. Exact where the
    sinogram is affine over a run; idempotent; an empty trace changes nothing.

    Args:
        sinogram: ``(..., detector)``.
        metal_trace: Bool, same shape.

    Returns:
        The completed sinogram; bit-equal to the input off the trace.
    """
    bins = sinogram.shape[-1]
    place = torch.arange(bins, device=sinogram.device).expand(sinogram.shape)
    left = torch.where(metal_trace, -1, place).cummax(-1).values
    right = torch.where(metal_trace, bins, place).flip(-1).cummin(-1).values.flip(-1)
    left_known, right_known = left >= 0, right < bins
    known = left_known | right_known
    left, right = torch.where(left_known, left, right), torch.where(right_known, right, left)
    left, right = left.clamp(0, bins - 1), right.clamp(0, bins - 1)
    share = (place - left) / (right - left).clamp(min=1)
    a, b = sinogram.gather(-1, left), sinogram.gather(-1, right)
    bridge = torch.where(known, a + share.to(sinogram.dtype) * (b - a), 0.0)
    return torch.where(metal_trace, bridge, sinogram)
