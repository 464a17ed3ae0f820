"""What the networks minimise: errors on the trace, terms beside them, and the adversarial game."""

from ctmar.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    check_adversarial,
    discriminator_loss,
    feature_error,
    generator_loss,
)
from ctmar.losses.base import Loss, Term
from ctmar.losses.errors import (
    ramp_filtered,
    ramp_weight,
    root_mean,
    trace_energy,
    trace_error,
    trace_mse,
    trace_ramp_energy,
    trace_ramp_mse,
)

__all__ = [
    "ADVERSARIAL_LOSSES",
    "Loss",
    "Term",
    "check_adversarial",
    "discriminator_loss",
    "feature_error",
    "generator_loss",
    "ramp_filtered",
    "ramp_weight",
    "root_mean",
    "trace_energy",
    "trace_error",
    "trace_mse",
    "trace_ramp_energy",
    "trace_ramp_mse",
]
