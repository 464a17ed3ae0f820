"""A method and a network of my own."""

import torch
from torch import Tensor, nn

from ctmar.case import Scan
from ctmar.methods import Method, linear_interpolation


class Smoothed(Method):
    """Linear interpolation across the trace, smoothed from view to view.

    Args:
        reach: Views on each side that a ray is averaged over.
    """

    name = "mine"

    def __init__(self, reach: int = 2) -> None:
        self.reach = reach

    def trace(self, scan: Scan) -> Tensor:
        """A sinogram like ``scan.measured``, of which only the trace is used."""
        fill = linear_interpolation(scan.measured, scan.metal_trace)
        moved = [fill.roll(step, -2) for step in range(-self.reach, self.reach + 1)]
        return torch.stack(moved).mean(0)


class Network(nn.Module):
    """What is added to the fill, from what the scanner measured. Starts at 0, and so exactly at the fill.

    Args:
        in_channels: Channels of the input: those that ``model.inputs`` lists.
        out_channels: Slices that come out.
        width: Channels in between.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 24) -> None:
        super().__init__()
        last = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.ReLU(),
            last,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """``(batch, in_channels, angle, detector)`` to ``(batch, out_channels, angle, detector)``."""
        out: Tensor = self.layers(inputs)
        return out
