"""A channelised Hotelling observer: how well a lesion of known place can be told from its absence.

Barrett & Myers, Foundations of Image Science (2004), chapters 13 and 14; Laguerre-Gauss channels for a
lesion of circular symmetry: Gallas & Barrett, J. Opt. Soc. Am. A 20:1725 (2003).
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial.laguerre import lagval
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.metrics.statistics import auc

CHANNELS = 6
Array = NDArray[np.float64]


class Detectability(NamedTuple):
    """An area under the ROC curve on cases the observer was not trained on, with its 95 % interval."""

    auc: float
    low: float
    high: float
    n: int
    """Sites tested."""


def laguerre_gauss(side: int, width: float, count: int = CHANNELS) -> Array:
    """Channels ``(side², count)``: ``√2/a exp(-π r²/a²) L_n(2π r²/a²)``, orthonormal up to the pixels.

    Args:
        side: Pixels of the square patch, odd.
        width: ``a`` in pixels; about the lesion's diameter.
        count: How many orders.
    """
    if side % 2 == 0 or not width > 0:
        raise CtmarError(f"channels need an odd side and a positive width, got {side} and {width}")
    axis = np.arange(side) - side // 2
    squared = 2 * np.pi * (axis[:, None] ** 2 + axis[None] ** 2) / width**2
    envelope = np.sqrt(2) / width * np.exp(-squared / 2)
    orders = [envelope * lagval(squared, np.eye(count)[n]) for n in range(count)]
    return np.stack([order.ravel() for order in orders], axis=1)


def hotelling_template(present: Array, absent: Array) -> Array:
    """``S⁻¹ Δ`` of channel outputs ``(site, channel)``; ``S`` the mean covariance, ``Δ`` the mean difference.

    A thousandth of the mean variance is added to the diagonal: few sites leave S near singular.
    """
    spread = (np.cov(present, rowvar=False) + np.cov(absent, rowvar=False)) / 2
    spread = spread + 1e-3 * np.trace(spread) / len(spread) * np.eye(len(spread))
    return np.asarray(np.linalg.solve(spread, present.mean(0) - absent.mean(0)))


def detectability(
    present: Array,
    absent: Array,
    case: NDArray[np.int64],
    *,
    width: float,
    resamples: int = 500,
    seed: int = 0,
) -> Detectability:
    """Trains on half the cases, tests on the other half.

    Args:
        present: Patches with the lesion in their centre, ``(site, side, side)``.
        absent: The same places without it.
        case: The case of each site; a case is trained on or tested, never both.
        width: Channel width in pixels.
        resamples: Draws of test cases for the interval.
        seed: Of the split and the draws.

    Returns:
        NaN where fewer than four cases, or too few sites for a covariance, are there.
    """
    if present.shape != absent.shape or present.ndim != 3 or len(case) != len(present):
        raise CtmarError(
            f"patches must come in pairs with a case each, got {present.shape} and {absent.shape}"
        )
    rng = np.random.default_rng(seed)
    cases = rng.permutation(np.unique(case))
    train = np.isin(case, cases[: len(cases) // 2])
    if len(cases) < 4 or train.sum() <= CHANNELS:
        nan = float("nan")
        return Detectability(nan, nan, nan, int((~train).sum()))
    channels = laguerre_gauss(present.shape[-1], width)
    yes, no = (x.reshape(len(x), -1) @ channels for x in (present, absent))
    template = hotelling_template(yes[train], no[train])
    yes, no, of = yes[~train] @ template, no[~train] @ template, case[~train]
    tested = np.unique(of)
    drawn = []
    for _ in range(resamples):
        sites = np.concatenate([np.flatnonzero(of == c) for c in rng.choice(tested, len(tested))])
        drawn.append(auc(yes[sites], no[sites]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Detectability(auc(yes, no), float(low), float(high), len(yes))
