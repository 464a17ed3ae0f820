"""What a channel is, and several of them as a network's input."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ctmar.case import Scan


class Units(NamedTuple):
    """Constants by which channels are divided, the same for every case."""

    sinogram: float = 4.0
    """Of line integrals, dimensionless."""
    path_mm: float = 50.0
    """Of lengths in metal."""


class Channel(Protocol):
    """One channel a slice, from what a method may see. Any callable of this form serves."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """The channel ``(batch, slice, angle, detector)``, of the order of 1.

        Args:
            scan: The slices that the network works on; perhaps some bins of the detector alone.
            fill: What the network's output is added to, equal to ``scan.measured`` off the trace.
            units: What to divide by.
        """
        ...


def stack_inputs(channels: Sequence[Channel], scan: Scan, fill: Tensor, units: Units) -> Tensor:
    """The channels ``(batch, len(channels) * slice, angle, detector)``: all of the first, then the next."""
    return torch.cat([channel(scan, fill, units) for channel in channels], dim=1)
