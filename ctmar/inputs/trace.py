"""Where the trace is."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units


@dataclass(frozen=True)
class Trace:
    """1 on the metal trace, 0 off it."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return scan.metal_trace.to(scan.measured.dtype)
