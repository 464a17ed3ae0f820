"""A first look at a scan: its range, its bright voxels, and so what counts as metal in it."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ctmar.errors import CtmarError
from ctmar.scans.stack import SliceStack
from ctmar.stored.corrected import Image
from ctmar.stored.metal import (
    CEILINGS_HU,
    LEAST_AREA_MM2,
    BrightVoxels,
    MetalRule,
    find_metal,
    ran_over,
)
from ctmar.stored.scale import Scale

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Survey:
    """What a scan holds.

    Attributes:
        rule: What counts as metal in it.
        automatic: Whether the rule was found from the scan.
        lowest: HU of the darkest voxel that is no padding.
        highest: HU of the brightest.
        clipped: Whether the values of metal are not its own: cut off at ``highest``, as those of 12 bits are
            at 3071, or run over.
        bright: Slices with a pixel above the upper threshold, or whose metal ran over: it is in no other.
        metal: Slices with metal.
        notes: What a reader should know of the values, a sentence each.
    """

    rule: MetalRule
    automatic: bool
    lowest: float
    highest: float
    clipped: bool
    bright: tuple[int, ...]
    metal: tuple[int, ...]
    notes: tuple[str, ...]


def survey(
    scan: SliceStack,
    rule: MetalRule | None = None,
    min_area_mm2: float = LEAST_AREA_MM2,
    progress: Progress | None = None,
) -> Survey:
    """Reads a scan once, and slices with bright voxels again.

    Args:
        scan: The scan.
        rule: What counts as metal; None finds it from the scan.
        min_area_mm2: Smaller regions do not, for a rule that is found.
        progress: Told of each slice.

    Raises:
        CtmarError: A slice that cannot be read, NaN, or values that are not HU.
    """
    count, voxels, scale = len(scan.places_mm), BrightVoxels(), Scale()
    highest = np.empty(count)
    with closing(_every(scan)) as images:
        for index, image in enumerate(images):
            if not np.isfinite(image).all():
                raise CtmarError(
                    f"{scan.name}: voxels must be finite, got NaN or infinite ones in slice {index + 1}"
                    f" of {count}"
                )
            voxels.add(image)
            scale.add(image)
            highest[index] = image.max()
            if progress is not None:
                progress("reading", index + 1, count)
    try:
        scale.check()
    except CtmarError as error:
        raise CtmarError(f"{scan.name}: {error}; a copy in HU can be corrected") from None
    chosen = voxels.rule(min_area_mm2) if rule is None else rule
    metal, cores = _metal(scan, [int(k) for k in np.flatnonzero(highest > chosen.low_hu)], chosen)
    bright = tuple(sorted({*map(int, np.flatnonzero(highest > chosen.high_hu)), *metal}))
    clipped = voxels.clipped(chosen)
    return Survey(
        rule=chosen,
        automatic=rule is None,
        lowest=scale.lowest,
        highest=voxels.highest,
        clipped=clipped or cores > 0,
        bright=bright,
        metal=metal,
        notes=tuple(_notes(voxels, chosen, rule is None, cores)),
    )


def _every(scan: SliceStack) -> Generator[Image, None, None]:
    """The slices in order, each read while the one before it is looked at."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(scan.read, 0)
        for index in range(len(scan.places_mm)):
            image = coming.result()
            if index + 1 < len(scan.places_mm):
                coming = pool.submit(scan.read, index + 1)
            yield image


def describe(found: Survey, count: int) -> str:
    """What a first look found, in a sentence."""
    rule = found.rule
    how = "found from the scan" if found.automatic else "as asked for"
    clipped = ", where values are cut off" if found.clipped else ""
    return (
        f"{count} slices, {found.lowest:.0f} to {found.highest:.0f} HU{clipped}; metal above"
        f" {rule.high_hu:.0f} HU ({how}), connected down to {rule.low_hu:.0f} HU;"
        f" {len(found.bright)} slices with such a voxel"
    )


def _metal(scan: SliceStack, bright: Sequence[int], rule: MetalRule) -> tuple[tuple[int, ...], int]:
    """Slices with metal, and how many pixels of it ran over."""
    found, cores = [], 0
    for index in bright:
        image = scan.read(index)
        metal = find_metal(image, scan.spacing_mm[0] * scan.spacing_mm[1], rule)
        if metal.any():
            found.append(index)
            cores += int(ran_over(image, metal).sum())
    return tuple(found), cores


def _notes(voxels: BrightVoxels, rule: MetalRule, automatic: bool, cores: int) -> Iterator[str]:
    ceiling = voxels.ceiling
    if cores:
        yield f"{cores} pixels inside of metal hold impossible values, which ran over: they count as metal"
    if ceiling is None:
        return
    if automatic and CEILINGS_HU <= ceiling and rule.high_hu == ceiling - 1:
        yield (
            f"values are cut off at {ceiling:g} HU: what is cut off counts as metal, bone as dense with it"
            " (--threshold says otherwise)"
        )
    elif ceiling <= rule.high_hu:
        yield (
            f"values seem to be cut off at {ceiling:g} HU: no metal is told from bone there (--threshold"
            f" {ceiling - 1:g} takes all that is cut off)"
        )
