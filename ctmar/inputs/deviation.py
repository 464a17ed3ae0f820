"""How far a fill may be off."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.inputs.base import Units
from ctmar.methods.base import Method, completed

LEAST, MOST = 1e-3, 1.0
"""Standard deviations of line integrals that are told apart."""


@dataclass(frozen=True)
class Deviation:
    """The logarithm of a fill's standard deviation: -1 at :data:`LEAST`, 1 at :data:`MOST`, 0 off the trace.

    Attributes:
        method: The fill's, one that tells a deviation; None for the network's own.
    """

    method: Method | None = None

    def of(self, fill: Method) -> "Deviation":
        """That of the network's own fill, where no other is named."""
        return self if self.method is not None else Deviation(fill)

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`; a CtmarError where the method tells none."""
        deviation = told_deviation(scan, self.method)
        exponent = torch.log10(deviation.clamp(LEAST, MOST) / LEAST) / math.log10(MOST / LEAST)
        return torch.where(scan.metal_trace, 2 * exponent - 1, 0.0)


def told_deviation(scan: Scan, method: Method | None) -> Tensor:
    """Standard deviation of a method's completion, ``scan.measured``'s shape, 0 off the trace.

    Raises:
        CtmarError: There is no method, or it tells none.
    """
    deviation = None if method is None else completed(scan, method).deviation
    if deviation is None:
        told = "none" if method is None else repr(method.name)
        raise CtmarError(f"the input deviation needs a method that tells one, got {told}")
    return deviation
