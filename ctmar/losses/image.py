"""The error of the image, by FBP of the error on the trace."""

from torch import Tensor

from ctmar.case import Case
from ctmar.losses.errors import fbp_of_bins
from ctmar.losses.weighted import Weighted


class Image(Weighted):
    """The mean square of the FBP of the error, in units of 100 HU."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Term`."""
        image = fbp_of_bins(case.scan.ray, self.error(completed, case))
        return (10 * image / case.scan.mu_water[:, None, None, None]).square().mean()
