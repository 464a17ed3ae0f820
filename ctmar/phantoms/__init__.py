"""Bodies built from seeds: a trunk with its spine, no data needed, and the truth about it is known."""

from ctmar.phantoms.procedural import build_body, build_spine, pedicle_truth
from ctmar.phantoms.source import ProceduralSpine
from ctmar.phantoms.vertebra import TruePedicle

__all__ = ["ProceduralSpine", "TruePedicle", "build_body", "build_spine", "pedicle_truth"]
