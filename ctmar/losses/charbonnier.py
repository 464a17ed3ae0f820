"""Charbonnier's penalty over all trace bins of a batch: L1 with a smooth foot."""

from torch import Tensor

from ctmar.case import Case
from ctmar.losses.domain import OnTrace
from ctmar.losses.errors import charbonnier


class Charbonnier(OnTrace):
    """Charbonnier's penalty (:func:`~ctmar.losses.errors.charbonnier`)."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Loss`."""
        return charbonnier(self.error(completed, case), case.scan.metal_trace.sum())
