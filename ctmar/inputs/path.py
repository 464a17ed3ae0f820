"""How far rays run in metal."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units


@dataclass(frozen=True)
class Path:
    """Length of each ray in metal, 0 off the trace."""

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        return scan.metal_path_mm / units.path_mm
