"""The metal that explains its rays: volume fractions of alloys by weighted least squares."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.methods.polychromatic.rays import Shadows, TraceRays
from ctmar.methods.polychromatic.tables import Floats

LEAST_CURVATURE = 1e-9
Variance = Callable[[Floats], Floats]
"""``(ray,)`` variances from what the rays are modelled to be, ``(ray, 4)``."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be explained by metal.

    Attributes:
        shadows: How the views see where metal may be.
        rays: The rays that are looked at.
        measured: ``(ray,)`` line integrals.
        water: ``(ray,)`` water in mm that would lie there without metal.
    """

    shadows: Shadows
    rays: TraceRays
    measured: Floats
    water: Floats

    def paths(self, fractions: Floats) -> Floats:
        """``(ray, sub-ray, alloy)`` in mm."""
        return self.rays.listed(self.shadows.paths(fractions))

    def back(self, values: Floats) -> Floats:
        """The transpose of :meth:`paths`."""
        return self.shadows.back(self.rays.dense(values, self.shadows.count // self.rays.subs))


def fit(
    problem: Problem,
    start: Floats,
    variance: Variance,
    outer: int,
    inner: int,
    free: NDArray[np.bool_] | None = None,
) -> tuple[Floats, float]:
    """Fractions ``(pixel, alloy)``, none negative, at most 1 together; and what they leave unexplained.

    Gauss-Newton; each linear problem by separable steps (Erdogan and Fessler, Phys. Med. Biol. 44:2835, 1999)
    with Nesterov's momentum.

    Args:
        problem: What is to be explained.
        start: ``(pixel, alloy)``.
        variance: Of the rays, as they are modelled.
        outer: Times the model is made linear.
        inner: Steps on each linear problem.
        free: Bool ``(alloy,)``: those that are fitted, the others stay as they are; None fits all.

    Returns:
        The fractions, and the mean square of the errors over their variances.
    """
    value = start
    whole = problem.paths(np.ones((len(start), 1)))
    for _ in range(outer):
        modelled, slopes = problem.rays.model(problem.paths(value), problem.water)
        left = problem.measured - modelled[:, 0]
        weighted = slopes / variance(modelled)[:, None, None]
        reach = (slopes * whole).sum((1, 2))
        curvature = np.maximum(problem.back(weighted * reach[:, None, None]), LEAST_CURVATURE)
        if free is not None:
            weighted *= free  # the others' gradient is 0
        value = _steps(problem, value, left, slopes, weighted, curvature, inner)
    modelled, _ = problem.rays.model(problem.paths(value), problem.water)
    return value, float(((problem.measured - modelled[:, 0]) ** 2 / variance(modelled)).mean())


def _steps(
    problem: Problem,
    start: Floats,
    left: Floats,
    slopes: Floats,
    weighted: Floats,
    curvature: Floats,
    count: int,
) -> Floats:
    """Steps on the problem made linear at ``start``."""
    value = ahead = start
    momentum = 1.0
    for _ in range(count):
        error = left - (slopes * problem.paths(ahead - start)).sum((1, 2))
        new = allowed(ahead + problem.back(weighted * error[:, None, None]) / curvature, curvature)
        if (curvature * (ahead - new) * (new - value)).sum() > 0:
            momentum = 1.0  # it ran too far (O'Donoghue and Candès, Found. Comput. Math. 15:715, 2015)
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / after * (new - value)
        value, momentum = new, after
    return value


def allowed(fractions: Floats, curvature: Floats) -> Floats:
    """The nearest fractions, by curvature, that are not negative and at most 1 together."""
    give = 1 / curvature
    out = np.maximum(fractions, 0)
    for _ in range(fractions.shape[1]):
        # What is too much is taken from those that are there, most where it costs least.
        share = np.where(out > 0, give, 0.0)
        excess = np.maximum(out.sum(1) - 1, 0) / np.maximum(share.sum(1), 1e-300)
        out = np.maximum(out - excess[:, None] * share, 0)
    return out
