"""The fill that the network's output is added to, or another one."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units
from ctmar.methods.base import Method, filled


@dataclass(frozen=True)
class Fill:
    """The network's own fill."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return fill / units.sinogram


@dataclass(frozen=True)
class FillBy:
    """The completion by a method.

    Attributes:
        method: Which.
    """

    method: Method

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return filled(scan, self.method) / units.sinogram
