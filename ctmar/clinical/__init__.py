"""A real scan in, a corrected scan out."""

from ctmar.clinical.correct import Corrected, SliceCorrector, correct
from ctmar.clinical.metal import BrightVoxels, MetalRule, find_metal
from ctmar.clinical.methods import METHODS, Classical, Method

__all__ = [
    "METHODS",
    "BrightVoxels",
    "Classical",
    "Corrected",
    "MetalRule",
    "Method",
    "SliceCorrector",
    "correct",
    "find_metal",
]
