"""The metal that explains its rays: volume fractions of alloys by weighted least squares."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.methods.polychromatic.rays import Shadows, TraceRays
from ctmar.methods.polychromatic.tables import Floats

LEAST_CURVATURE = 1e-9
MOST_LEFT = 0.1
"""A scanner that leaves more scatter than this has no correction."""
Variance = Callable[[Floats, Floats], Floats]
"""``(ray,)`` variances from what the rays are modelled to be, ``(ray, 4)``, and the scatter on them."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be explained by metal.

    Attributes:
        shadows: How the views see where metal may be.
        rays: The rays that are looked at.
        measured: ``(ray,)`` line integrals.
        water: ``(ray,)`` water in mm that would lie there without metal.
        scattered: ``(ray,)`` scatter by a scanner that leaves all of it, in the signal through air.
        most_lost: ``(pixel,)`` the most that an image can have lost where it was cut off; None where it was
            not.
    """

    shadows: Shadows
    rays: TraceRays
    measured: Floats
    water: Floats
    scattered: Floats
    most_lost: Floats | None = None

    def paths(self, fractions: Floats) -> Floats:
        """``(ray, sub-ray, column)`` in mm."""
        return self.rays.listed(self.shadows.paths(fractions))

    def back(self, values: Floats) -> Floats:
        """The transpose of :meth:`paths`."""
        return self.shadows.back(self.rays.dense(values, self.shadows.count // self.rays.subs))

    def model(self, fractions: Floats, left: float) -> tuple[Floats, Floats]:
        """What would be measured, and its slopes; see :meth:`.rays.TraceRays.model`."""
        return self.rays.model(self.paths(fractions), self.water, left * self.scattered)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What explains a problem.

    Attributes:
        fractions: ``(pixel, column)`` of volume: the alloys of the slice, then those of its neighbours. None
            is negative, and those of a plane are at most 1 together. In an image that was cut off a last
            column holds what it lost there, in :data:`~.rays.LOST` times the attenuation of water.
        left: Share of the scatter that the scanner left.
        misfit: Mean square of the errors over their variances.
    """

    fractions: Floats
    left: float = 0.0
    misfit: float = 0.0


@dataclass(frozen=True, eq=False)
class _Linear:
    """A problem made linear: errors are ``missing`` less what the changes explain.

    Attributes:
        problem: The problem.
        start: Where it was made linear.
        missing: ``(ray,)``.
        slopes: ``(ray, sub-ray, column)`` by the paths.
        by_left: ``(ray,)`` slope by the share of scatter that was left.
        spread: ``(ray,)`` variances.
    """

    problem: Problem
    start: Fitted
    missing: Floats
    slopes: Floats
    by_left: Floats
    spread: Floats

    def explained(self, curvature: Floats, free: Floats, count: int) -> Fitted:
        """So many steps."""
        problem, start = self.problem, self.start
        weighted = self.slopes * free / self.spread[:, None, None]
        weight = self.by_left / self.spread
        normal = (weight * self.by_left).sum()
        value = ahead = start.fractions
        left, momentum = start.left, 1.0
        for _ in range(count):
            error = self.missing - (self.slopes * problem.paths(ahead - start.fractions)).sum((1, 2))
            if normal > 0:
                left = float(np.clip(start.left + (weight * error).sum() / normal, 0.0, MOST_LEFT))
            error -= self.by_left * (left - start.left)
            new = ahead + problem.back(weighted * error[:, None, None]) / curvature
            new = self._allowed(new, curvature)
            if (curvature * (ahead - new) * (new - value)).sum() > 0:
                # It ran too far (O'Donoghue and Candès, Found. Comput. Math. 15:715, 2015).
                momentum = 1.0
            after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / after * (new - value)
            value, momentum = new, after
        return Fitted(value, left)

    def _allowed(self, fractions: Floats, curvature: Floats) -> Floats:
        """The nearest fractions, and losses, that there can be."""
        planes, most = len(self.problem.rays.planes), self.problem.most_lost
        if most is None:
            return allowed(fractions, curvature, planes)
        metal = allowed(fractions[:, :-1], curvature[:, :-1], planes)
        return np.concatenate([metal, np.clip(fractions[:, -1:], 0, most[:, None])], 1)


def fit(
    problem: Problem,
    start: Fitted,
    variance: Variance,
    outer: int,
    inner: int,
    free: NDArray[np.bool_] | None = None,
) -> Fitted:
    """Fractions of the alloys, and the share of the scatter that the scanner left.

    Gauss-Newton; each linear problem by separable steps (Erdogan and Fessler, Phys. Med. Biol. 44:2835, 1999)
    with Nesterov's momentum. The share of the scatter, on which the errors depend in the same way throughout,
    is solved for at each step.

    Args:
        problem: What is to be explained.
        start: Where to start.
        variance: Of the rays, as they are modelled.
        outer: Times the model is made linear.
        inner: Steps on each linear problem.
        free: Bool ``(column,)``: those that are fitted, the others stay as they are; None fits all.
    """
    found = start
    whole = problem.paths(np.ones((len(start.fractions), 1)))
    fitted = np.ones(start.fractions.shape[1]) if free is None else free.astype(np.float64)
    for _ in range(outer):
        modelled, slopes = problem.model(found.fractions, found.left)
        spread = variance(modelled, found.left * problem.scattered)
        steep = np.abs(slopes)
        reach = (steep * whole).sum((1, 2)) / spread
        curvature = np.maximum(problem.back(steep * reach[:, None, None]), LEAST_CURVATURE)
        by_left = -modelled[:, 2] * np.exp(modelled[:, 3]) * problem.scattered
        linear = _Linear(problem, found, problem.measured - modelled[:, 0], slopes, by_left, spread)
        found = linear.explained(curvature, fitted, inner)
    modelled, _ = problem.model(found.fractions, found.left)
    square = (problem.measured - modelled[:, 0]) ** 2
    misfit = float((square / variance(modelled, found.left * problem.scattered)).mean())
    return Fitted(found.fractions, found.left, misfit)


def allowed(fractions: Floats, curvature: Floats, planes: int = 1) -> Floats:
    """The nearest fractions, by curvature, that are not negative and in each plane at most 1 together."""
    shape = (len(fractions), planes, -1)
    give = (1 / curvature).reshape(shape)
    out = np.maximum(fractions, 0).reshape(shape)
    for _ in range(out.shape[2]):
        # What is too much is taken from those that are there, most where it costs least.
        share = np.where(out > 0, give, 0.0)
        excess = np.maximum(out.sum(2) - 1, 0) / np.maximum(share.sum(2), 1e-300)
        out = np.maximum(out - excess[..., None] * share, 0)
    found: Floats = out.reshape(fractions.shape)
    return found
