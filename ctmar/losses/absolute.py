"""The mean absolute error over all trace bins of a batch, L1."""

from torch import Tensor

from ctmar.case import Case
from ctmar.losses.domain import OnTrace
from ctmar.losses.errors import absolute


class Absolute(OnTrace):
    """L1 (:func:`~ctmar.losses.errors.absolute`)."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Loss`."""
        return absolute(self.error(completed, case), case.scan.metal_trace.sum())
