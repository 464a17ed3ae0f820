"""From a prior of the tissue to the metal, and from the metal to the tissue behind it, ray by ray."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ctmar.methods.polychromatic.fit import Fitted, Problem, fit
from ctmar.methods.polychromatic.rays import ONE_PLANE, MetalPixels, Shadows, TraceRays
from ctmar.methods.polychromatic.tables import Beam, Floats, Tables

ALONE = 2, 8
"""How often the lightest alloy's own fit makes the model linear, and its steps each time."""
LEAST_PATH_MM = 0.3
"""Paths are in doubt as much as those of this length, be they shorter."""
LEAST_SLOPE = 1e-5
MOST_LOST, USUAL_LOST, HEAVY_LOST = 3.0, 0.5, 1.5
"""The most that was cut off of a pixel, what a fit starts from, and what of heavy metal it adds to that; in
:data:`~.rays.LOST` times water."""


@dataclass(frozen=True, eq=False)
class Prior:
    """What is believed of a slice before its rays are asked.

    Attributes:
        line: ``(view, bin)`` line integrals without metal.
        bone: ``(view, bin)`` mm of cortical bone.
        scattered: ``(view, bin)`` scatter by a scanner that leaves all of it, without metal; in the signal
            through air.
        error: Standard deviation of ``line``.
    """

    line: Floats
    bone: Floats
    scattered: Floats
    error: float


@dataclass(frozen=True, eq=False)
class Inverted:
    """What the rays of a trace say.

    Attributes:
        fitted: The metal, and the scatter that the scanner left.
        clean: ``(ray,)`` line integrals as they would be without metal, each ray by itself.
        variance: ``(ray,)`` of these: photons and electronics, and the metal's path in doubt.
    """

    fitted: Fitted
    clean: Floats
    variance: Floats


@dataclass(frozen=True, eq=False)
class Inversion:
    """A slice's metal trace.

    Attributes:
        beam: The scanner.
        tables: Its beam in few energies.
        pixels: Where metal may be.
        trace: Bool ``(view, bin)``: the rays to be inverted.
        measured: ``(view, bin)`` line integrals.
        scattered: ``(view, bin)`` scatter by a scanner that leaves all of it, in the signal through air.
        every: Each ``every``-th view is looked at for the metal.
        path_error: Standard deviation of a path of 1 mm through metal, in mm; it grows with the root.
        clipped: Whether the rays are of an image that was cut off in the mask: what it lost there is fitted
            too.
        likely: ``(pixel, alloy)`` fractions by what the image looks like, which a fit starts from; None where
            the rays themselves tell.
    """

    beam: Beam
    tables: Tables
    pixels: MetalPixels
    trace: NDArray[np.bool_]
    measured: Floats
    scattered: Floats
    every: int
    path_error: float
    clipped: bool = False
    likely: Floats | None = None

    def __call__(
        self, prior: Prior, start: Fitted | None, outer: int, inner: int, planes: Floats = ONE_PLANE
    ) -> Inverted:
        """Fits the metal, then inverts each ray.

        Args:
            prior: An estimate of the slice without metal.
            start: What to start from. None takes :attr:`likely`, or else the mask to be full of the lightest
                alloy: where that does not do, a heavier one comes in, while heavy metal at first would stay,
                thinned out.
            outer: Times that the model is made linear.
            inner: Steps on each linear problem.
            planes: Shares of the signal through the slice itself and its neighbours, whose metal is in
                ``start``.
        """
        return self.inverted(prior, self.fitted(prior, start, outer, inner, planes), planes)

    def inverted(self, prior: Prior, fitted: Fitted, planes: Floats = ONE_PLANE) -> Inverted:
        """Each ray solved for what lies behind such metal."""
        rays = self._rays(np.arange(len(self.trace)), prior, planes)
        paths = rays.listed(self._whole.paths(fitted.fractions))
        stray, without = fitted.left * rays.take(self.scattered), fitted.left * rays.take(prior.scattered)
        usual = self._water(rays, prior, without)
        water = rays.water_behind(rays.take(self.measured), paths, stray, usual)
        none = rays.without_metal()
        clean = rays.model(none, water, without)[0][:, 0]
        by_water = rays.model(none, usual, without)[0][:, 1]
        # As the noise came to be, and as it would be behind the prior: where it has eaten the signal the
        # first alone would say that there is none.
        variance = np.maximum(
            *(self._variance(rays, paths, depth, stray, by_water) for depth in (water, usual))
        )
        return Inverted(fitted, clean, variance)

    def fitted(
        self, prior: Prior, start: Fitted | None, outer: int, inner: int, planes: Floats = ONE_PLANE
    ) -> Fitted:
        """The metal, and the scatter that was left; see :meth:`__call__`."""
        rays = self._rays(np.arange(0, len(self.trace), self.every), prior, planes)
        without = (0.0 if start is None else start.left) * rays.take(prior.scattered)
        water = self._water(rays, prior, without)
        most = MOST_LOST * self.pixels.inside.astype(np.float64) if self.clipped else None
        problem = Problem(self._some, rays, rays.take(self.measured), water, rays.take(self.scattered), most)

        def variance(modelled: Floats, stray: Floats) -> Floats:
            noise = modelled[:, 2] ** 2 * self.beam.variance(modelled[:, 3], stray)
            return noise + (prior.error * modelled[:, 1] / self.tables.reference_mu) ** 2

        if start is None:
            full = self._usual()
            start = fit(problem, Fitted(full), variance, *ALONE, np.asarray(full.any(0)))
        return fit(problem, start, variance, outer, inner)

    def _usual(self) -> Floats:
        """``(pixel, column)`` to start from."""
        inside, alloys = self.pixels.inside, self.likely
        if alloys is None:
            alloys = np.outer(inside, self.tables.heaviness == 1).astype(np.float64)
        if not self.clipped:
            return alloys
        # Of a heavy alloy as much more was lost.
        lost = USUAL_LOST * inside + HEAVY_LOST * (alloys @ (self.tables.heaviness > 1))
        return np.column_stack([alloys, lost])

    @cached_property
    def _whole(self) -> Shadows:
        return self.pixels.seen_by(np.arange(len(self.trace)))

    @cached_property
    def _some(self) -> Shadows:
        whole = self._whole
        return Shadows(whole.places[:: self.every], whole.weights[:: self.every], whole.count)

    def _rays(self, views: NDArray[np.int64], prior: Prior, planes: Floats) -> TraceRays:
        at = (self.trace, views, self.pixels.subs, self.tables)
        return TraceRays.of(*at, prior.bone, planes, self.clipped)

    def _water(self, rays: TraceRays, prior: Prior, stray: Floats) -> Floats:
        """Water in mm that the prior stands for."""
        known = rays.take(prior.line)
        return rays.water_behind(known, rays.without_metal(), stray, known / self.tables.reference_mu)

    def _variance(
        self, rays: TraceRays, paths: Floats, water: Floats, stray: Floats, by_water: Floats
    ) -> Floats:
        """Of line integrals without metal, from the reading's and the paths'."""
        modelled, slopes = rays.model(paths, water, stray)
        if self.clipped:  # what was cut off is no path through metal
            paths, slopes = paths[..., :-1], slopes[..., :-1]
        doubt = self.path_error**2 * np.maximum(paths.mean(1), LEAST_PATH_MM) * slopes.sum(1) ** 2
        noise = modelled[:, 2] ** 2 * self.beam.variance(modelled[:, 3], stray)
        gain = by_water / np.maximum(modelled[:, 1], LEAST_SLOPE)
        found: Floats = (noise + doubt.max(1)) * gain**2
        return found
