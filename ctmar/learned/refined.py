"""An image network behind a completion, which nothing binds to the measured rays.

The completion leaves every ray off the trace as it was measured; an image network may change any pixel, and
with it any ray. It is off by default, and what it does to those rays is measured in every evaluation
(``off_trace_rms_reprojected``).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.networks.unet import SinogramUNet
from ctmar.operators.filters import FILTERS
from ctmar.units import STORED_MAX_HU

AIR_HU, SCALE_HU = -1000.0, 1000.0
"""Images enter the network as ``(HU - AIR_HU) / SCALE_HU``, cut at air and the brightest HU that is stored:
0 is air, with which a U-Net pads, 1 is water."""

ERROR_HU = 100.0
"""Unit of the network's output."""

CHANNELS = 4
"""FBP of the completed sinogram, of the fill and of what was measured, and the metal mask; each per slice."""


class Refinement(nn.Module):
    """``refined = completed + 100 HU * network(images)``, the network ending in a layer of zeros.

    Args:
        slices: Slices of a scan, as channels.
        channels: Of the U-Net's levels.
        norm: As in :class:`~ctmar.networks.unet.SinogramUNet`.
        filter: Of the FBP that the network is fitted to.
    """

    def __init__(
        self,
        slices: int,
        channels: Sequence[int] = (16, 32, 64),
        norm: str = "batch",
        filter: str = "ram-lak",
    ) -> None:
        super().__init__()
        if filter not in FILTERS:
            raise CtmarError(f"refine_filter must be one of {', '.join(FILTERS)}, got {filter!r}")
        self.net = SinogramUNet(CHANNELS * slices, slices, channels=channels, norm=norm)
        self.filter = filter

    def forward(self, scan: Scan, completed_hu: Tensor, fill_hu: Tensor, uncorrected_hu: Tensor) -> Tensor:
        """The refined image in HU.

        Args:
            scan: For the metal mask.
            completed_hu: FBP of the completion ``(batch, slice, row, column)``; gradients go back to it.
            fill_hu: FBP of the sinogram that it was a residual to.
            uncorrected_hu: FBP of what was measured.
        """
        images = (completed_hu, fill_hu, uncorrected_hu)
        scaled = [(x.clamp(AIR_HU, STORED_MAX_HU) - AIR_HU) / SCALE_HU for x in images]
        inputs = torch.cat([*scaled, scan.metal_mask.to(completed_hu.dtype)], dim=1)
        # float: under autocast the network returns bfloat16, too coarse to add to an image.
        return completed_hu + ERROR_HU * self.net(inputs).float()

    def fbp_hu(self, scan: Scan, sinogram: Tensor) -> Tensor:
        """FBP in HU, with the network's filter, of ``(batch, slice, angle, detector)``."""
        return scan.image_hu(sinogram, self.filter)
