"""Classical completions as pure functions on sinograms: fills for the networks, and methods of their own."""

from ctmar.completion.frequency_split import split_frequencies
from ctmar.completion.hardening import hardening_corrected, hardening_residual
from ctmar.completion.interpolation import linear_interpolation
from ctmar.completion.normalized import nmar, normalized_interpolation
from ctmar.completion.prior import tissue_prior
from ctmar.completion.total_variation import tv_completion

__all__ = [
    "hardening_corrected",
    "hardening_residual",
    "linear_interpolation",
    "nmar",
    "normalized_interpolation",
    "split_frequencies",
    "tissue_prior",
    "tv_completion",
]
