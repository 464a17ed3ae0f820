"""A real scan in, a corrected scan out."""

from ctmar.clinical.correct import Corrected, SliceCorrector, correct
from ctmar.clinical.methods import STORED
from ctmar.stored import BrightVoxels, MetalRule, find_metal

__all__ = [
    "STORED",
    "BrightVoxels",
    "Corrected",
    "MetalRule",
    "SliceCorrector",
    "correct",
    "find_metal",
]
