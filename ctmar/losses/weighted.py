"""What the terms beside the main loss share: a weight, and the unit of the error."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.losses.errors import trace_error


@dataclass(frozen=True)
class Weighted:
    """A term of the error on the trace.

    Attributes:
        weight: Its factor in the sum; 0 leaves it out.
        scale: Divisor of the sinogram.
    """

    weight: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        if not self.weight >= 0:
            raise CtmarError(f"{name}_weight must be 0 or more, got {self.weight!r}")
        if not self.scale > 0:
            raise CtmarError(f"loss_scale must be positive, got {self.scale!r}")

    def error(self, completed: Tensor, case: Case) -> Tensor:
        """The error bin by bin, 0 off the trace."""
        return trace_error(completed, case.truth.clean, case.scan.metal_trace) / self.scale
