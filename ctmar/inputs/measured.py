"""The measurement, with what was measured behind the metal or without."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units


@dataclass(frozen=True)
class Measured:
    """Line integrals as they were measured, behind the metal too."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return scan.measured / units.sinogram


@dataclass(frozen=True)
class MeasuredZeroed:
    """Line integrals with 0 on the trace: the essay's."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return torch.where(scan.metal_trace, torch.zeros_like(scan.measured), scan.measured) / units.sinogram
