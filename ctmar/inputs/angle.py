"""From which side a view is taken."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units


@dataclass(frozen=True)
class Angle:
    """``cos 2θ``: 1 from the front, -1 from the side; no step where the sinogram closes, nor mirrored."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        views = torch.arange(scan.measured.shape[-2], device=scan.measured.device)
        return torch.cos(views * (2 * torch.pi / len(views)))[:, None].expand_as(scan.measured)
