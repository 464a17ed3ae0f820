"""From a stored image to a scan: what is metal in it, the virtual rays, what they say of the metal.

One path, which the correction of scans and the simulation of stored images both take. Its names are imported
when they are asked for: who only looks at images waits for no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctmar.stored.found import found_scan, is_clipped
    from ctmar.stored.metal import BrightVoxels, MetalRule, find_metal
    from ctmar.stored.scan import MU_WATER, StoredScan, stored_scan

__all__ = [
    "MU_WATER",
    "BrightVoxels",
    "MetalRule",
    "StoredScan",
    "find_metal",
    "found_scan",
    "is_clipped",
    "stored_scan",
]
_HOMES = {
    "found": ("found_scan", "is_clipped"),
    "metal": ("BrightVoxels", "MetalRule", "find_metal"),
    "scan": ("MU_WATER", "StoredScan", "stored_scan"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
