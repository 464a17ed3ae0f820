"""Overlays in the bits above a pixel's own, as files before 2004 have them (PS3.3 2003, C.9.2)."""

from typing import Any

FIRST, LAST, STEP = 0x6000, 0x601E, 2
"""Groups of overlays."""
BITS_ALLOCATED, BIT_POSITION, DATA = 0x0100, 0x0102, 0x3000


def overlay_bits(dataset: Any) -> int:
    """The bits of a stored value that belong to overlays, as a mask; 0 for none."""
    mask = 0
    for group in range(FIRST, LAST + 1, STEP):
        if (group, BIT_POSITION) not in dataset or (group, DATA) in dataset:
            continue
        position = dataset[group, BIT_POSITION].value
        if isinstance(position, int) and dataset.BitsStored <= position < dataset.BitsAllocated:
            mask |= 1 << position
    return mask
