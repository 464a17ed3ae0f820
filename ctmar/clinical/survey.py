"""A first look at a scan: its range, its bright voxels, and so what counts as metal in it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ctmar.errors import CtmarError
from ctmar.scans.stack import SliceStack
from ctmar.stored.metal import LEAST_AREA_MM2, BrightVoxels, MetalRule

SURELY_BELOW_HU = -200.0
"""Some of every CT lies below: air, lung or at least fat. What does not is on another scale than HU."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Survey:
    """What a scan holds.

    Attributes:
        rule: What counts as metal in it.
        automatic: Whether the rule was found from the scan.
        lowest: HU of the darkest voxel, padding included.
        highest: HU of the brightest.
        clipped: Whether values end at ``highest`` because they are cut off there, as those of 12 bits
            are at 3071.
        bright: Slices with a pixel above the upper threshold: metal is in no other.
    """

    rule: MetalRule
    automatic: bool
    lowest: float
    highest: float
    clipped: bool
    bright: tuple[int, ...]


def survey(
    scan: SliceStack,
    rule: MetalRule | None = None,
    min_area_mm2: float = LEAST_AREA_MM2,
    progress: Progress | None = None,
) -> Survey:
    """Reads a scan once.

    Args:
        scan: The scan.
        rule: What counts as metal; None finds it from the scan.
        min_area_mm2: Smaller regions do not, for a rule that is found.
        progress: Told of each slice.

    Raises:
        CtmarError: A slice that cannot be read, NaN, or values that are not HU.
    """
    count, voxels = len(scan.places_mm), BrightVoxels()
    highest, lowest = np.empty(count), np.empty(count)
    for index in range(count):
        image = scan.read(index)
        if not np.isfinite(image).all():
            raise CtmarError(
                f"voxels must be finite, got NaN or infinite ones in slice {index + 1} of {count}"
            )
        voxels.add(image)
        highest[index], lowest[index] = image.max(), image.min()
        if progress is not None:
            progress("reading", index + 1, count)
    if lowest.min() > SURELY_BELOW_HU:
        raise CtmarError(
            "voxels must be in HU, with air near -1000;"
            f" got values from {lowest.min():g} to {voxels.highest:g}"
        )
    chosen = voxels.rule(min_area_mm2) if rule is None else rule
    bright = tuple(int(k) for k in np.flatnonzero(highest > chosen.high_hu))
    range_hu = float(lowest.min()), voxels.highest
    return Survey(chosen, rule is None, *range_hu, voxels.clipped(chosen), bright)
