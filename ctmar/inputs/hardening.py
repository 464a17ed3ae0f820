"""What of the measurement behind metal the length in metal does not explain."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Scan
from ctmar.inputs.base import Units
from ctmar.methods.mbhc import hardening_corrected, hardening_residual

LIMIT = 1.5
"""Largest value, a line integral: more is the noise of rays on which no photon came through."""


@dataclass(frozen=True)
class Hardening:
    """The rest of a fit in the length of metal, cut at ±:data:`LIMIT`; small, so divided by nothing.

    Attributes:
        weighted: Each ray weighted by its noise and shrunk by it
            (:func:`~ctmar.methods.mbhc.hardening_corrected` less the fill); else all alike
            (:func:`~ctmar.methods.mbhc.hardening_residual`).
    """

    weighted: bool = False

    def __call__(self, scan: Scan, fill: Tensor, units: Units) -> Tensor:
        """See :class:`~ctmar.inputs.base.Channel`."""
        rays = (scan.measured, fill, scan.metal_path_mm, scan.metal_trace)
        rest = hardening_corrected(*rays) - fill if self.weighted else hardening_residual(*rays)
        return rest.clamp(-LIMIT, LIMIT)
