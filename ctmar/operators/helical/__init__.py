"""Single-slice helical scans: what they measure of a stack of slices, and their sinograms at one z."""

from ctmar.operators.helical.interpolation import (
    INTERPOLATIONS,
    covered_z_mm,
    covering_helix,
    interpolate_helical,
    rebin_helical_to_parallel,
)
from ctmar.operators.helical.transform import HelicalTransform, covered_share

__all__ = [
    "INTERPOLATIONS",
    "HelicalTransform",
    "covered_share",
    "covered_z_mm",
    "covering_helix",
    "interpolate_helical",
    "rebin_helical_to_parallel",
]
