"""The metal trace: which bins belong to it, and whether anything is measured there."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.physics.detector import dilated


@dataclass(frozen=True)
class Trace:
    """What counts as behind metal.

    Attributes:
        epsilon_mm: Mean path through metal above which a bin belongs to the trace.
        dilation: Bins by which the trace is wider than that.
        measures_metal: False for the essay's ideal, in which nothing is measured behind metal and the trace
            holds zero.

    Raises:
        CtmarError: If a value is out of its range.
    """

    epsilon_mm: float = 0.1
    dilation: int = 1
    measures_metal: bool = True

    def __post_init__(self) -> None:
        if not self.epsilon_mm > 0:
            raise CtmarError(f"trace.epsilon_mm must be positive, got {self.epsilon_mm!r}")
        whole = isinstance(self.dilation, int) and not isinstance(self.dilation, bool)
        if not (whole and self.dilation >= 0):
            raise CtmarError(f"trace.dilation must be a whole number from 0, got {self.dilation!r}")

    def of(self, path_mm: Tensor) -> Tensor:
        """Which bins belong to the trace, by their mean paths ``(..., view, bin)`` through metal."""
        return dilated(path_mm > self.epsilon_mm, self.dilation)
