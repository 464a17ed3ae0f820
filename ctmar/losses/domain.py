"""Where the error on the trace is measured, and in what unit: what the main losses share."""

from dataclasses import dataclass

from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.losses.errors import ramp_filtered, trace_energy, trace_error, trace_ramp_energy

DOMAINS = ("sinogram", "ramp")


@dataclass(frozen=True)
class OnTrace:
    """The error ``completed - clean`` on the trace, 0 off it.

    Attributes:
        domain: ``sinogram`` for the plain error, ``ramp`` for the error as FBP weights it.
        scale: Divisor of the sinogram.
    """

    domain: str = "ramp"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise CtmarError(f"loss_domain must be one of {', '.join(DOMAINS)}, got {self.domain!r}")
        if not self.scale > 0:
            raise CtmarError(f"loss_scale must be positive, got {self.scale!r}")

    def energy(self, completed: Tensor, case: Case) -> Tensor:
        """Squared errors summed over each view, ``(batch, slice, angle)``."""
        energy = trace_ramp_energy if self.domain == "ramp" else trace_energy
        return energy(completed, case.truth.clean, case.scan.metal_trace, self.scale)

    def error(self, completed: Tensor, case: Case) -> Tensor:
        """The error bin by bin; filtered, and longer than the detector, in the domain of the ramp."""
        error = trace_error(completed, case.truth.clean, case.scan.metal_trace) / self.scale
        return ramp_filtered(error) if self.domain == "ramp" else error
