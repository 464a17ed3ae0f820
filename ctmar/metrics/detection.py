"""Detection of a lesion at a known place in many images: an observer, trained and read in folds, and its AUC.

The task is that of Vaishnav et al., Med. Phys. 47:3344 (2020): present or absent, signal known exactly.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.metrics.observer import CHANNELS, hotelling_template, laguerre_gauss
from ctmar.metrics.statistics import auc

Array = NDArray[np.float64]
FOLDS = 2
"""Each half of the images is read by the observer that was trained on the other."""
LEAST = 2 * FOLDS
"""Images of each class that a fold's training needs at least."""


class Judge(Protocol):
    """A linear observer of flattened patches ``(image, pixel)`` in HU."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def read(self, present: Array, absent: Array, images: Array) -> Array:
        """Decision values ``(image,)`` of ``images``, after training on ``present`` and ``absent``."""
        ...

    def auc(self, present: Array, absent: Array) -> float:
        """Area under the ROC curve of decision values, in [0, 1]."""
        ...


@dataclass(frozen=True)
class OwnObserver:
    """This project's channelised Hotelling observer with Laguerre-Gauss channels.

    Attributes:
        side: Pixels along an edge of the patches, odd.
        width: Of the channels in pixels; about the lesion's diameter.
        name: What reports call it.
    """

    side: int
    width: float
    name: str = "ctmar"

    @property
    def channels(self) -> Array:
        """``(pixel, channel)``."""
        return laguerre_gauss(self.side, self.width, CHANNELS)

    def read(self, present: Array, absent: Array, images: Array) -> Array:
        """Decision values of ``images``; see :class:`Judge`."""
        channels = self.channels
        return images @ channels @ hotelling_template(present @ channels, absent @ channels)

    def auc(self, present: Array, absent: Array) -> float:
        """The Mann-Whitney statistic."""
        return auc(present, absent)


class Readings(NamedTuple):
    """Decision values, each by an observer that was not trained on its image; ``(realisation,)``."""

    present: Array
    absent: Array
    fold: NDArray[np.int64]
    """Which realisations were read together."""


class Estimate(NamedTuple):
    """A figure with its 95 % interval over realisations."""

    value: float
    low: float
    high: float


def folds_of(realisations: int) -> NDArray[np.int64]:
    """The fold of each realisation, by turns.

    Raises:
        CtmarError: There are too few to train on.
    """
    if realisations < FOLDS * LEAST:
        raise CtmarError(
            f"realisations must be {FOLDS * LEAST} or more to train and test on, got {realisations}"
        )
    return np.arange(realisations) % FOLDS


def read_in_folds(judge: Judge, present: Array, absent: Array) -> Readings:
    """Trains and reads a judge fold by fold.

    Args:
        judge: The observer.
        present: ``(realisation, side, side)`` with the lesion in the centre, HU.
        absent: The same without.

    Raises:
        CtmarError: The two differ in shape, or are too few.
    """
    if present.shape != absent.shape or present.ndim != 3:
        raise CtmarError(f"patches must be as many with as without, got {present.shape} and {absent.shape}")
    yes, no = (x.reshape(len(x), -1).astype(np.float64) for x in (present, absent))
    fold = folds_of(len(yes))
    values = np.empty((2, len(yes)))
    for tested in range(FOLDS):
        there = fold == tested
        for row, images in enumerate((yes, no)):
            values[row, there] = judge.read(yes[~there], no[~there], images[there])
    return Readings(values[0], values[1], fold)


def resampling(realisations: int, resamples: int, seed: int = 0) -> tuple[Array, Array]:
    """How often each realisation is drawn, with the lesion and without, ``(1 + resamples, realisation)``.

    The first row is the realisations themselves. One drawing serves every method, dose, contrast and
    observer: what a realisation adds to both of two figures cancels in their difference. It speaks of the
    images that were tested; the observers stay as they were trained.
    """
    rng, fold = np.random.default_rng(seed), folds_of(realisations)
    drawn = np.ones((2, 1 + resamples, realisations))
    for kind in drawn:
        for tested in range(FOLDS):
            there = np.flatnonzero(fold == tested)
            kind[1:, there] = rng.multinomial(len(there), np.full(len(there), 1 / len(there)), resamples)
    return drawn[0], drawn[1]


def resampled_auc(readings: Readings, drawn: tuple[Array, Array]) -> Array:
    """The mean of the folds' AUC under each drawing, ``(1 + resamples,)``."""
    parts = []
    for tested in range(FOLDS):
        there = readings.fold == tested
        yes, no = readings.present[there][:, None], readings.absent[there][None]
        above = (yes > no) + 0.5 * (yes == no)
        parts.append(((drawn[0][:, there] @ above) * drawn[1][:, there]).sum(1) / above.size)
    return np.asarray(np.mean(parts, axis=0))


def folds_auc(judge: Judge, readings: Readings) -> float:
    """The mean of the folds' AUC as the judge itself takes it."""
    tested = [readings.fold == fold for fold in range(FOLDS)]
    return float(np.mean([judge.auc(readings.present[there], readings.absent[there]) for there in tested]))


def estimate(figures: Array) -> Estimate:
    """A figure from its values under :func:`resampling`, the first of which is the figure itself."""
    low, high = np.percentile(figures[1:], [2.5, 97.5])
    return Estimate(float(figures[0]), float(low), float(high))
