"""How far an error is from any that an image could have."""

from typing import Any

import torch
from torch import Tensor

from ctmar.case import Case
from ctmar.losses.weighted import Weighted


class Consistency(Weighted):
    """:func:`inconsistency`."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Term`."""
        return inconsistency(self.error(completed, case))


def inconsistency(error: Tensor, orders: int = 2) -> Tensor:
    """How far an error is from any that an image could have: Helgason-Ludwig conditions, mean square.

    The moment ``Σ e(θ, s) s^k`` of a sinogram is a homogeneous polynomial of degree ``k`` in ``cos θ`` and
    ``sin θ`` (Ludwig, Comm. Pure Appl. Math. 19:49, 1966). The true sinogram fulfils that, so what the
    error's moments leave is the completion's. ``s`` is in halves of the detector, moments are per bin.

    Args:
        error: ``(..., angle, detector)``, views uniform over [0, π), detector centred on the axis.
        orders: Highest ``k``.
    """
    views, bins = error.shape[-2:]
    make: dict[str, Any] = {"device": error.device, "dtype": torch.float32}
    theta = torch.arange(views, **make) * (torch.pi / views)
    s = torch.linspace(-1, 1, bins, **make)
    left = torch.zeros((), device=error.device)
    for k in range(orders + 1):
        moment = (error.float() * s**k).mean(-1)
        basis = torch.stack([theta.cos() ** (k - j) * theta.sin() ** j for j in range(k + 1)], dim=-1)
        fitted = moment @ torch.linalg.pinv(basis).T @ basis.T
        left = left + (moment - fitted).square().mean()
    return left
