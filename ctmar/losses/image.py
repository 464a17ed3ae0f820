"""The error of the image, by FBP of the error on the trace."""

import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.losses.weighted import Weighted


class Image(Weighted):
    """The mean square of the FBP of the error, in units of 100 HU."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Term`."""
        error, ray = self.error(completed, case), case.scan.ray
        edge = (ray.beam.det_count - error.shape[-1]) // 2
        image = ray.fbp(torch.nn.functional.pad(error.float(), (edge, edge)))
        return (10 * image / case.scan.mu_water[:, None, None, None]).square().mean()
