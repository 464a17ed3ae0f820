"""From a stored image to a scan: what is metal in it, the virtual rays, what they say of the metal.

One path, which the correction of scans and the simulation of stored images both take.
"""

from ctmar.stored.confirm import confirmed_metal
from ctmar.stored.found import found_scan
from ctmar.stored.metal import BrightVoxels, MetalRule, find_metal
from ctmar.stored.scan import MU_WATER, StoredScan, stored_scan

__all__ = [
    "MU_WATER",
    "BrightVoxels",
    "MetalRule",
    "StoredScan",
    "confirmed_metal",
    "find_metal",
    "found_scan",
    "stored_scan",
]
