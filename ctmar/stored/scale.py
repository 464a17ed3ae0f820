"""Whether voxels are in HU at all: air near -1000, tissue near 0."""

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.stored.padding import padding_mask

SURELY_BELOW_HU = -200.0
"""Some of every CT lies below: air, lung or at least fat. What does not is on another scale than HU."""
NOTHING_BELOW_HU, MOST_BELOW = -1250.0, 0.1
"""Nothing is darker but streaks, which are a small share, and padding, beside which there is tissue."""
SOFT_HU, LEAST_SOFT = (-300.0, 300.0), 0.05
AIR_HU, LEAST_AIR = (-1150.0, -850.0), 0.01
TISSUE_ABOVE_HU, BRIGHTEST_TISSUE_HU = -500.0, 700.0
"""Half of what is no air is darker than this; where there is air at its place it may be bone alone."""
EDGES_HU = np.arange(-4000.0, 4001.0, 50.0)
FINEST = 128
"""Of larger images every second, third ... pixel is looked at."""


def as_air(image_hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where an image has the values of air."""
    return np.asarray((image_hu >= AIR_HU[0]) & (image_hu <= AIR_HU[1]))


class Scale:
    """What a scan's voxels say of their unit, gathered slice by slice.

    Padding is left out, but for padding where air should be: of a phantom without noise it is the air.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(len(EDGES_HU) - 1, np.int64)
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, image_hu: NDArray[np.floating]) -> None:
        """Looks at another slice."""
        every = max(1, min(image_hu.shape) // FINEST)
        coarse = image_hu[::every, ::every]
        values = coarse[as_air(coarse) | ~padding_mask(coarse, blurred=False)]
        if not values.size:
            return
        self.counts += np.histogram(values.clip(EDGES_HU[0], EDGES_HU[-1]), EDGES_HU)[0]
        self.lowest = min(self.lowest, float(values.min()))
        self.highest = max(self.highest, float(values.max()))

    def check(self) -> None:
        """Refuses another scale than HU.

        Raises:
            CtmarError: Air or tissue lie elsewhere than they should.
        """
        count = int(self.counts.sum())
        wanted = "voxels must be in HU, with air near -1000"
        if not count:
            raise CtmarError(f"{wanted}; got one value everywhere")
        if self.lowest > SURELY_BELOW_HU:
            raise CtmarError(f"{wanted}; got values from {self.lowest:g} to {self.highest:g}")
        below = self._between(-np.inf, NOTHING_BELOW_HU) / count
        if below > MOST_BELOW and self._between(*SOFT_HU) < LEAST_SOFT * count:
            raise CtmarError(
                f"{wanted}; got {below:.0%} of them below {NOTHING_BELOW_HU:g}, as where an offset was"
                " subtracted twice"
            )
        tissue = np.where(EDGES_HU[:-1] >= TISSUE_ABOVE_HU, self.counts, 0)
        median = float(EDGES_HU[np.searchsorted(np.cumsum(tissue), tissue.sum() / 2)])
        if self._between(*AIR_HU) < LEAST_AIR * count and median > BRIGHTEST_TISSUE_HU:
            raise CtmarError(
                f"{wanted} and soft tissue near 0; got no air, and half of the rest above {median:g}, as in"
                " other images than CT or where an offset is missing"
            )

    def _between(self, lowest: float, highest: float) -> int:
        return int(self.counts[(EDGES_HU[:-1] >= lowest) & (EDGES_HU[1:] <= highest)].sum())
