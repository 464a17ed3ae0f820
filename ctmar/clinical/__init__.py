"""A whole scan through the correction, and the reports on it."""

from ctmar.stored import BrightVoxels, MetalRule, find_metal
from ctmar.stored.methods import STORED
from ctmar.stored.slices import Corrected, SliceCorrector, correct

__all__ = [
    "STORED",
    "BrightVoxels",
    "Corrected",
    "MetalRule",
    "SliceCorrector",
    "correct",
    "find_metal",
]
