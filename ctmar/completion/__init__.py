"""Classical completions as pure functions on sinograms: fills for the networks, and methods of their own."""

from ctmar.completion.interpolation import linear_interpolation
from ctmar.completion.normalized import nmar, normalized_interpolation, tissue_prior

__all__ = ["linear_interpolation", "nmar", "normalized_interpolation", "tissue_prior"]
