"""Metal in stored images: seeds above a threshold of the scan's own, grown to a lower one, without specks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.errors import CtmarError
from ctmar.stored.padding import padding_mask

SEARCHED_HU = (2250.0, 2500.0)
"""Where the threshold of a scan is looked for: above cortical bone, which ends near 2,000 HU, and below the
3,071 HU at which a 12-bit image is full."""
BIN_HU = 50.0
GROWN_SHARE = 0.8
"""The lower threshold as a share of the upper. On 14 simulated scans NMAR's mean error near metal was 210,
199, 191 and 185 HU for 0.6, 0.7, 0.8 and 1 of 2,500 HU, its median 127, 123, 124 and 133: lower ones
take streaks for metal, higher ones lose thin metal."""
LEAST_AREA_MM2 = 1.0
CEILINGS_HU = 1500.0
"""Where values are cut off above this, what is cut off counts as metal; lower down bone is as bright."""
MARGIN = 8
"""Pixels around what is bright in which a dark core ends."""
TWELVE_BITS_HU = 4096.0
SHARP_HU, CORE_BELOW_HU = 1000.0, 500.0
"""What a dark core ends in at the least, and what none of its pixels reaches. A hole in metal all of which is
above the first is metal that streaks have darkened: blood with contrast and marrow are not so bright."""
DARK_HU, DARKEST_HU = -200.0, -900.0
"""Beside metal nothing is as dark: a pixel's share of the metal alone is brighter. The second is for images
beyond 12 bits, whose metal has its own HU and whose streaks are darker."""
CEILING_SHARE = 1e-6
"""So many voxels at a scan's highest value mean that it is cut off there."""


@dataclass(frozen=True)
class MetalRule:
    """What counts as metal in a slice.

    Attributes:
        high_hu: A region needs a pixel above this to be metal ...
        low_hu: ... and reaches as far as pixels above this are connected to it (eight neighbours).
        min_area_mm2: Smaller regions are left out.
    """

    high_hu: float
    low_hu: float
    min_area_mm2: float = LEAST_AREA_MM2

    def __post_init__(self) -> None:
        values = (self.high_hu, self.low_hu, self.min_area_mm2)
        if not all(isinstance(v, (int, float)) and np.isfinite(v) for v in values):
            raise CtmarError(f"metal thresholds must be finite numbers, got {values}")
        if not 0 < self.low_hu <= self.high_hu:
            raise CtmarError(
                f"metal thresholds must be 0 < low <= high in HU, got {self.low_hu:g} and {self.high_hu:g}"
            )
        if self.min_area_mm2 < 0:
            raise CtmarError(f"the smallest area of metal must be 0 mm² or more, got {self.min_area_mm2:g}")


def find_metal(image_hu: NDArray[np.floating], area_mm2: float, rule: MetalRule) -> NDArray[np.bool_]:
    """Metal in one slice.

    Args:
        image_hu: ``(row, column)`` in HU.
        area_mm2: Area of a pixel.
        rule: What counts as metal.

    Returns:
        Bool, the image's shape; with pixels inside that ran over (:func:`ran_over`), without padding that is
        as bright.
    """
    bright = np.asarray(image_hu > rule.low_hu)
    if bright[0, 0] and bright[-1, -1]:
        bright &= ~padding_mask(image_hu)
    if not bright.any():
        return bright
    found, where = np.zeros(bright.shape, bool), _around(bright)
    found[where] = _grown(image_hu[where], bright[where], area_mm2, rule)
    return found


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of an image that holds a mask, and a few pixels more on each side."""
    places = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    first, second = (slice(max(int(at[0]) - MARGIN, 0), int(at[-1]) + MARGIN + 1) for at in places)
    return first, second


def _grown(
    image_hu: NDArray[np.floating], bright: NDArray[np.bool_], area_mm2: float, rule: MetalRule
) -> NDArray[np.bool_]:
    """Bright regions with a seed in them, and what ran over inside."""
    cores = _sharp_cores(image_hu, bright)
    bright = bright | cores
    seeds = bright & (image_hu > rule.high_hu) | cores
    if not seeds.any():
        return np.zeros(bright.shape, bool)
    regions, count = ndimage.label(bright, np.ones((3, 3)))
    area = np.bincount(regions.ravel(), minlength=count + 1) * area_mm2
    seeded = np.zeros(count + 1, bool)
    seeded[np.unique(regions[seeds])] = True
    seeded &= area >= rule.min_area_mm2
    seeded[0] = False
    metal = np.asarray(seeded[regions])
    return metal | _enclosed_cores(image_hu, metal)


def _sharp_cores(image_hu: NDArray[np.floating], bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Regions darker than tissue that end in values far above it from one pixel to the next, some of metal.

    Some scanners store the lowest value, or the rest of a division by 4096, where a value does not fit.
    Beside metal or bone nothing is so dark: a pixel's share of them alone is brighter.
    """
    dark = np.asarray(image_hu < _darker_than_tissue(image_hu))
    regions, count = ndimage.label(dark)
    if not count:
        return dark
    cross = ndimage.generate_binary_structure(2, 1)
    lowest = ndimage.minimum_filter(np.where(dark, np.inf, image_hu), footprint=cross)
    every = np.arange(count + 1)
    sharp = np.asarray(ndimage.minimum(lowest, regions, every)) > SHARP_HU
    sharp &= np.asarray(ndimage.maximum(ndimage.binary_dilation(bright, np.ones((3, 3))), regions, every)) > 0
    sharp[0] = False
    border = np.concatenate([regions[[0, -1]].ravel(), regions[:, [0, -1]].ravel()])
    sharp[np.unique(border)] = False
    return np.asarray(sharp[regions])


def _enclosed_cores(image_hu: NDArray[np.floating], metal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes in the metal whose rim is darker than tissue, and those that are no tissue for being too bright.

    The lumen of a stent, or what streaks darken inside of a ring, is neither.
    """
    holes = ndimage.binary_fill_holes(metal) & ~metal
    if not holes.any():
        return np.asarray(holes)
    regions, count = ndimage.label(holes)
    rim = np.where(ndimage.binary_dilation(metal, np.ones((3, 3))), regions, 0)
    dark = np.zeros(count + 1, bool)
    dark[1:] = ndimage.median(image_hu, rim, np.arange(1, count + 1)) < _darker_than_tissue(image_hu)
    bright = np.zeros(count + 1, bool)
    bright[1:] = ndimage.minimum(image_hu, regions, np.arange(1, count + 1)) > SHARP_HU
    return np.asarray((dark | bright)[regions])


def _darker_than_tissue(image_hu: NDArray[np.floating]) -> float:
    return DARK_HU if image_hu.max() <= TWELVE_BITS_HU else DARKEST_HU


def ran_over(image_hu: NDArray[np.floating], metal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of found metal that hold impossible values, in place of their own that were too high to store.

    Args:
        image_hu: ``(row, column)`` in HU.
        metal: Bool, the same shape, of :func:`find_metal`.
    """
    return metal & (image_hu < CORE_BELOW_HU)


def brightened(image_hu: NDArray[np.floating], metal: NDArray[np.bool_]) -> NDArray[np.floating]:
    """An image whose metal has its highest value where it ran over."""
    cores = ran_over(image_hu, metal)
    return np.where(cores, image_hu[metal].max(), image_hu) if cores.any() else image_hu


class BrightVoxels:
    """Counts of a scan's bright voxels, gathered slice by slice: its threshold is chosen from them.

    Attributes:
        highest: HU of the brightest voxel.
    """

    def __init__(self) -> None:
        # A bin more on either side of the searched range, for the average over three.
        first, last = SEARCHED_HU[0] - 1.5 * BIN_HU, SEARCHED_HU[1] + 1.5 * BIN_HU
        self.edges = np.arange(first, last + BIN_HU / 2, BIN_HU)
        self.counts = np.zeros(len(self.edges) - 1, np.int64)
        self.highest, self._at_highest, self._voxels = -np.inf, 0, 0

    def add(self, image_hu: NDArray[np.floating]) -> None:
        """Counts another slice's voxels, or some that lie anywhere."""
        if image_hu.ndim == 2 and image_hu[0, 0] == image_hu[-1, -1] > self.edges[0]:
            image_hu = image_hu[~padding_mask(image_hu)]  # as bright as metal
        bright = image_hu[image_hu > self.edges[0]]
        self.counts += np.histogram(bright, self.edges)[0]
        top = float(image_hu.max()) if image_hu.size else -np.inf
        if top > self.highest:
            self.highest, self._at_highest = top, 0
        if top == self.highest:
            self._at_highest += int(np.count_nonzero(image_hu == top))
        self._voxels += image_hu.size

    @property
    def ceiling(self) -> float | None:
        """The highest value, where voxels pile up there as if they were cut off."""
        piled = self._at_highest > max(10.0, CEILING_SHARE * self._voxels)
        return self.highest if piled else None

    def clipped(self, rule: MetalRule) -> bool:
        """Whether metal ends at ``highest`` because values are cut off there, as those of 12 bits at 3071."""
        return self.highest > rule.high_hu and self.ceiling is not None

    def rule(self, min_area_mm2: float = LEAST_AREA_MM2) -> MetalRule:
        """The scan's rule: the upper threshold where the fewest voxels lie between bone and metal.

        The counts are averaged over three bins of 50 HU; of equally empty places the highest is
        taken, so that a scan without metal, empty everywhere up there, gets 2,500 HU. Where values are cut
        off below that, but above bone, it is what is cut off.
        """
        smooth = np.convolve(self.counts, np.ones(3) / 3, mode="valid")
        centers = (self.edges[1:-2] + self.edges[2:-1]) / 2
        lowest = len(smooth) - 1 - int(np.argmin(smooth[::-1]))
        high = float(centers[lowest])
        if self.ceiling is not None and CEILINGS_HU <= self.ceiling <= high:
            high = self.ceiling - 1
        return MetalRule(high, GROWN_SHARE * high, min_area_mm2)
