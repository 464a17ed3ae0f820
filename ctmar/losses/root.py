"""The root mean square error, as reports average it."""

from torch import Tensor

from ctmar.case import Case
from ctmar.losses.domain import OnTrace
from ctmar.losses.errors import root_mean


class Root(OnTrace):
    """The mean over cases of the root mean square (:func:`~ctmar.losses.errors.root_mean`)."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Loss`."""
        return root_mean(self.energy(completed, case), case.scan.metal_trace)
