"""No correction: the row that every other is held against."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Scan
from ctmar.methods.base import Classical


@dataclass(frozen=True)
class Uncorrected(Classical):
    """Leaves the trace as it was measured."""

    name = "uncorrected"

    def trace(self, scan: Scan) -> Tensor:
        """``scan.measured`` itself."""
        return scan.measured
