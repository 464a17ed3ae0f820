"""A whole scan through the correction, and the reports on it.

Its names are imported when they are asked for: who only looks at a scan waits for no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctmar.stored.corrected import Corrected
    from ctmar.stored.metal import BrightVoxels, MetalRule, find_metal
    from ctmar.stored.methods import STORED
    from ctmar.stored.slices import SliceCorrector, correct

__all__ = [
    "STORED",
    "BrightVoxels",
    "Corrected",
    "MetalRule",
    "SliceCorrector",
    "correct",
    "find_metal",
]
_HOMES = {
    "corrected": ("Corrected",),
    "metal": ("BrightVoxels", "MetalRule", "find_metal"),
    "methods": ("STORED",),
    "slices": ("SliceCorrector", "correct"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ctmar.stored.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
