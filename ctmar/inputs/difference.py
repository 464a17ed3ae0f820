"""What was measured beyond the fill."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units


@dataclass(frozen=True)
class Difference:
    """Measured minus the network's fill, 0 off the trace."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return (scan.measured - fill) / units.sinogram
