"""Bodies that need no data, and of which the truth is known: a trunk built from a seed, and a plain chest."""

from ctmar.phantoms.chest import ChestPhantom, build_chest
from ctmar.phantoms.procedural import build_body, build_spine, pedicle_truth
from ctmar.phantoms.source import ProceduralSpine
from ctmar.phantoms.vertebra import TruePedicle

__all__ = [
    "ChestPhantom",
    "ProceduralSpine",
    "TruePedicle",
    "build_body",
    "build_chest",
    "build_spine",
    "pedicle_truth",
]
