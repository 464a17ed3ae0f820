"""Differences of the error between neighbouring views and bins."""

from torch import Tensor

from ctmar.case import Case
from ctmar.losses.weighted import Weighted


class Gradient(Weighted):
    """:func:`gradient_error`."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Term`."""
        return gradient_error(self.error(completed, case), case.scan.metal_trace.sum())


def gradient_error(error: Tensor, bins: Tensor) -> Tensor:
    """Absolute differences of an error between neighbouring views and bins, per trace bin.

    Where a completion misses by a constant it costs nothing inside the trace; at its rim it does.
    """
    across, along = error.diff(dim=-1).abs().sum(), error.diff(dim=-2).abs().sum()
    return (across + along) / bins.clamp(min=1)
