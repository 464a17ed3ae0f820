"""Ways of completing the metal trace: a file each, with its function and its class."""

from ctmar.methods.base import Completed, Method
from ctmar.methods.fsnmar import FSNMAR, split_frequencies
from ctmar.methods.li import LI, linear_interpolation
from ctmar.methods.mbhc import MBHC, hardening_corrected, hardening_residual
from ctmar.methods.nmar import NMAR, normalized_interpolation
from ctmar.methods.physics import Physics
from ctmar.methods.prior import tissue_prior
from ctmar.methods.tv import TV, tv_completion
from ctmar.methods.uncorrected import Uncorrected
from ctmar.methods.zero import Zero

__all__ = [
    "FSNMAR",
    "LI",
    "MBHC",
    "NMAR",
    "TV",
    "Completed",
    "Method",
    "Physics",
    "Uncorrected",
    "Zero",
    "hardening_corrected",
    "hardening_residual",
    "linear_interpolation",
    "normalized_interpolation",
    "split_frequencies",
    "tissue_prior",
    "tv_completion",
]
