"""What many cases say together: paired bootstrap intervals, and groups by metal's size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctmar.errors import CtmarError

SIZE_GROUPS_MM2: dict[str, tuple[float, float]] = {
    "below 100 mm²": (0.0, 100.0),
    "100 to 300 mm²": (100.0, 300.0),
    "300 to 600 mm²": (300.0, 600.0),
    "from 600 mm²": (600.0, float("inf")),
}
"""Metal in the slice. The published groups (Zhang & Yu 2018: pixels of ten masks) are of shrunk patients."""

RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and its 95 % interval over resampled cases."""

    mean: float
    low: float
    high: float
    n: int


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean of ``first - second`` over cases that both have, with a percentile interval of 95 %.

    Cases are resampled, each with both its values (Efron & Tibshirani 1993, chapter 13): what a case's
    difficulty adds to both cancels. The interval speaks of cases like these, not of a population.

    Args:
        first: One value a case; NaN where there is none.
        second: The other method's values of the same cases in the same order.
        resamples: How often the cases are drawn anew.
        seed: Of the draws.

    Returns:
        NaN throughout where no case has both; an interval of no width where one has.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise CtmarError(f"both must hold one value a case, got {a.shape} and {b.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf, which is left out
        difference = a - b
    return bootstrap_mean(difference, resamples=resamples, seed=seed)


def bootstrap_mean(values: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean of the values that are finite, with its 95 % percentile interval; see :func:`paired_bootstrap`."""
    given = np.asarray(values, dtype=np.float64)
    known = given[np.isfinite(given)]
    if not known.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(seed).integers(known.size, size=(resamples, known.size))
    low, high = np.percentile(known[drawn].mean(axis=1), [2.5, 97.5])
    return Interval(float(known.mean()), float(low), float(high), int(known.size))


def paired_share(base: ArrayLike, own: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """``1 - mean(own) / mean(base)`` over cases that both have, with a percentile interval of 95 %.

    The share of the base's mean that is gone; cases are resampled as in :func:`paired_bootstrap`.

    Args:
        base: One value a case, NaN where there is none; their mean must not be 0.
        own: The other method's values of the same cases in the same order.
        resamples: How often the cases are drawn anew.
        seed: Of the draws.
    """
    b, a = np.asarray(base, dtype=np.float64), np.asarray(own, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise CtmarError(f"both must hold one value a case, got {b.shape} and {a.shape}")
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if not a.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(seed).integers(a.size, size=(resamples, a.size))
    low, high = np.percentile(1 - a[drawn].mean(1) / b[drawn].mean(1), [2.5, 97.5])
    return Interval(float(1 - a.mean() / b.mean()), float(low), float(high), int(a.size))


def size_group(area_mm2: float) -> str:
    """The name of the group in :data:`SIZE_GROUPS_MM2` that an area of metal belongs to."""
    for name, (low, high) in SIZE_GROUPS_MM2.items():
        if low <= area_mm2 < high:
            return name
    raise CtmarError(f"area_mm2 must be 0 or more, got {area_mm2!r}")


def auc(
    present: Sequence[float] | NDArray[np.float64], absent: Sequence[float] | NDArray[np.float64]
) -> float:
    """Area under the ROC curve: the share of pairs in which ``present`` scores higher, ties by half.

    The Mann-Whitney statistic (Hanley & McNeil, Radiology 143:29, 1982); NaN where either is empty.
    """
    yes, no = np.asarray(present, dtype=np.float64), np.asarray(absent, dtype=np.float64)
    if not yes.size or not no.size:
        return float("nan")
    above = (yes[:, None] > no[None]).mean()
    return float(above + 0.5 * (yes[:, None] == no[None]).mean())
