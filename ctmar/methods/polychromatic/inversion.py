"""From a prior of the tissue to the metal, and from the metal to the tissue behind it, ray by ray."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ctmar.methods.polychromatic.fit import Problem, fit
from ctmar.methods.polychromatic.rays import MetalPixels, Shadows, TraceRays
from ctmar.methods.polychromatic.tables import Beam, Floats, Tables

ALONE = 2, 8
"""How often the lightest alloy's own fit makes the model linear, and its steps each time."""
LEAST_PATH_MM = 0.3
"""Paths are in doubt as much as those of this length, be they shorter."""
LEAST_SLOPE = 1e-5


@dataclass(frozen=True, eq=False)
class Inverted:
    """What the rays of a trace say.

    Attributes:
        fractions: ``(pixel, alloy)`` volume fractions of metal.
        clean: ``(ray,)`` line integrals as they would be without metal, each ray by itself.
        variance: ``(ray,)`` of these: photons and electronics, and the metal's path in doubt.
        fullness: Median attenuation of the mask's pixels in that of the lightest alloy, solid.
        misfit: Mean square of the errors with which the metal alone explains the rays, over their variances.
    """

    fractions: Floats
    clean: Floats
    variance: Floats
    fullness: float
    misfit: float


@dataclass(frozen=True, eq=False)
class Inversion:
    """A slice's metal trace.

    Attributes:
        beam: The scanner.
        tables: Its beam in few energies.
        pixels: Where metal may be.
        trace: Bool ``(view, bin)``: the rays to be inverted.
        measured: ``(view, bin)`` line integrals.
        every: Each ``every``-th view is looked at for the metal.
        path_error: Standard deviation of a path of 1 mm through metal, in mm; it grows with the root.
    """

    beam: Beam
    tables: Tables
    pixels: MetalPixels
    trace: NDArray[np.bool_]
    measured: Floats
    every: int
    path_error: float

    def __call__(
        self, prior: Floats, bone: Floats, prior_error: float, start: Floats | None, outer: int, inner: int
    ) -> Inverted:
        """Fits the metal, then inverts each ray.

        Args:
            prior: ``(view, bin)`` line integrals without metal, an estimate.
            bone: ``(view, bin)`` mm of cortical bone.
            prior_error: Standard deviation of the prior.
            start: Fractions to start from. None takes the mask to be full of the lightest alloy: where
                that does not do, a heavier one comes in, while heavy metal at first would stay, thinned out.
            outer: Times that the model is made linear.
            inner: Steps on each linear problem.
        """
        fractions, misfit = self._metal(prior, bone, prior_error, start, outer, inner)
        views = np.arange(len(self.trace))
        rays = TraceRays.of(self.trace, views, self.pixels.subs, self.tables, bone)
        paths = rays.listed(self._whole.paths(fractions))
        water = rays.water_behind(rays.take(self.measured), paths, self._water(rays, prior))
        modelled, slopes = rays.model(paths, water)
        clean, by_water = rays.model(np.zeros_like(paths), water)[0][:, :2].T
        doubt = self.path_error**2 * np.maximum(paths.mean(1), LEAST_PATH_MM) * slopes.sum(1) ** 2
        noise = modelled[:, 2] ** 2 * self.beam.variance(modelled[:, 3])
        gain = by_water / np.maximum(modelled[:, 1], LEAST_SLOPE)
        fullness = float(np.median(fractions[self.pixels.inside] @ self.tables.heaviness))
        return Inverted(fractions, clean, (noise + doubt.max(1)) * gain**2, fullness, misfit)

    @cached_property
    def _whole(self) -> Shadows:
        return self.pixels.seen_by(np.arange(len(self.trace)))

    @cached_property
    def _fitted(self) -> Shadows:
        whole = self._whole
        return Shadows(whole.places[:: self.every], whole.weights[:: self.every], whole.count)

    def _water(self, rays: TraceRays, prior: Floats) -> Floats:
        """Water in mm that the prior stands for."""
        known = rays.take(prior)
        none = np.zeros((len(known), self.pixels.subs, len(self.tables.mu_metal)))
        return rays.water_behind(known, none, known / self.tables.reference_mu)

    def _metal(
        self, prior: Floats, bone: Floats, prior_error: float, start: Floats | None, outer: int, inner: int
    ) -> tuple[Floats, float]:
        """Fractions, and what they leave unexplained."""
        views = np.arange(0, len(self.trace), self.every)
        rays = TraceRays.of(self.trace, views, self.pixels.subs, self.tables, bone)
        problem = Problem(self._fitted, rays, rays.take(self.measured), self._water(rays, prior))

        def variance(modelled: Floats) -> Floats:
            noise = modelled[:, 2] ** 2 * self.beam.variance(modelled[:, 3])
            return noise + (prior_error * modelled[:, 1] / self.tables.reference_mu) ** 2

        if start is None:
            lightest = self.tables.heaviness == 1
            full = np.outer(self.pixels.inside, lightest).astype(np.float64)
            start, _ = fit(problem, full, variance, *ALONE, lightest)
        return fit(problem, start, variance, outer, inner)
