"""The mean square error over all trace bins of a batch: the essay's ``L_2``."""

from torch import Tensor

from ctmar.case import Case
from ctmar.losses.domain import OnTrace


class Squared(OnTrace):
    """The mean square, over all trace bins of the batch; 0 where there are none."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Loss`."""
        return self.energy(completed, case).sum() / case.scan.metal_trace.sum().clamp(min=1)
