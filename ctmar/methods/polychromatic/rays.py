"""The rays of a metal trace, and the fine pixels that may hold metal."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.methods.polychromatic.tables import Floats, Tables
from ctmar.operators.kernels.threads import over_lines

ONE_PLANE: Floats = np.ones(1)
RAYS_A_TASK, PIXELS_A_TASK, VIEWS_A_TASK = 2048, 512, 60


@dataclass(frozen=True, eq=False)
class MetalPixels:
    """The fine pixels that may hold metal, and their paths along the sub-rays of some views.

    Attributes:
        held: Bool ``(fine row, fine column)``.
        inside: Bool ``(pixel,)``: those of the mask itself, not of its border.
        grid: The fine pixels.
        beam: The views and bins.
        subs: Sub-rays a bin.
    """

    held: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    grid: ImageGrid
    beam: ParallelBeam
    subs: int

    @staticmethod
    def around(
        mask: NDArray[np.bool_], grid: ImageGrid, beam: ParallelBeam, refine: int, border: int, subs: int
    ) -> "MetalPixels":
        """Each pixel of a mask in ``refine²`` parts, and ``border`` of these parts around it."""
        fine = np.kron(mask, np.ones((refine, refine), bool))
        square = np.ones((3, 3), bool)
        held = ndimage.binary_dilation(fine, square, iterations=border) if border else fine
        return MetalPixels(held, fine[held], grid.refine(refine), beam, subs)

    @cached_property
    def _places(self) -> tuple[Floats, Floats]:
        """Each pixel's x and y in mm."""
        rows, columns = np.nonzero(self.held)
        height, width = self.held.shape
        center_x, center_y = self.grid.center_mm
        x = (columns - (width - 1) / 2) * self.grid.spacing_mm + center_x
        y = ((height - 1) / 2 - rows) * self.grid.spacing_mm + center_y
        return x, y

    def dense(self, fractions: Floats) -> Floats:
        """``(pixel, alloy)`` as an image ``(fine row, fine column, alloy)``."""
        out = np.zeros((*self.held.shape, fractions.shape[1]))
        out[self.held] = fractions
        return out

    def seen_by(self, views: NDArray[np.int64]) -> "Shadows":
        """How these views see the pixels."""
        from ctmar.operators.kernels import polychromatic  # numba takes a second to import

        theta, step = self.beam.theta[views], self.beam.det_spacing_mm / self.subs
        count = self.beam.det_count * self.subs
        places = np.empty((len(views), len(self.inside)), np.int32)
        weights = np.empty((len(views), len(self.inside), 2), np.float32)
        rays = (np.cos(theta), np.sin(theta), self.grid.spacing_mm, step, self.beam.det_offset_mm, count)
        fill: Any = polychromatic.shadows
        x, y = self._places
        over_lines(
            len(views), VIEWS_A_TASK, lambda first, last: fill(places, weights, x, y, *rays, first, last)
        )
        return Shadows(places, weights, count)


@dataclass(frozen=True, eq=False)
class Shadows:
    """The projection of some pixels in some views, as a table.

    Attributes:
        places: int32 ``(view, pixel)``, first of the two sub-rays that a pixel's shadow may reach.
        weights: float32 ``(view, pixel, 2)``, mm of the pixel on these.
        count: Sub-rays of a view.
    """

    places: NDArray[np.int32]
    weights: NDArray[np.float32]
    count: int

    def paths(self, fractions: Floats) -> Floats:
        """``(view, sub-ray, alloy)`` in mm through ``(pixel, alloy)`` fractions."""
        from ctmar.operators.kernels import polychromatic

        out = np.zeros((len(self.places), self.count, fractions.shape[1]))
        project: Any = polychromatic.project
        table = (self.places, self.weights)
        over_lines(len(out), VIEWS_A_TASK, lambda first, last: project(out, fractions, *table, first, last))
        return out

    def back(self, rays: Floats) -> Floats:
        """The transpose of :meth:`paths`."""
        from ctmar.operators.kernels import polychromatic

        out = np.zeros((self.places.shape[1], rays.shape[2]))
        backproject: Any = polychromatic.backproject
        table = (self.places, self.weights)
        over_lines(len(out), PIXELS_A_TASK, lambda first, last: backproject(out, rays, *table, first, last))
        return out


@dataclass(frozen=True, eq=False)
class TraceRays:
    """Rays of some views as a list, and what is known of them.

    Attributes:
        views: The views that are looked at.
        at: ``(ray,)`` places in the flattened ``(view, bin)`` of these.
        subs: Sub-rays a bin.
        tables: The beam.
        bone: ``(ray,)`` mm of cortical bone.
        planes: ``(plane,)`` share of the signal that comes through the slice itself, and its neighbours.
        clipped: Whether the rays are of an image that was cut off in metal. What it lost is then the last
            column of paths: mm of what attenuates :data:`LOST` times as water does, and was not measured.
    """

    views: NDArray[np.int64]
    at: NDArray[np.int64]
    subs: int
    tables: Tables
    bone: Floats
    planes: Floats
    clipped: bool = False

    @staticmethod
    def of(
        trace: NDArray[np.bool_],
        views: NDArray[np.int64],
        subs: int,
        tables: Tables,
        bone: Floats,
        planes: Floats = ONE_PLANE,
        clipped: bool = False,
    ) -> "TraceRays":
        """The rays of a trace ``(view, bin)`` in these of its views; ``bone`` of that shape."""
        at = np.flatnonzero(trace[views])
        return TraceRays(views, at, subs, tables, bone[views].ravel()[at], planes, clipped)

    @property
    def columns(self) -> int:
        """Paths of a sub-ray: one an alloy and plane, and one for what was cut off."""
        return self._metals + self.clipped

    @property
    def _metals(self) -> int:
        return len(self.tables.mu_metal) * len(self.planes)

    @property
    def _lost_mu(self) -> float:
        """Attenuation of what was cut off, 1/mm."""
        return LOST * self.tables.reference_mu

    def _metal(self, paths: Floats) -> Floats:
        """The columns of metal."""
        return np.ascontiguousarray(paths[..., : self._metals])

    def _lost(self, paths: Floats) -> Floats:
        """``(ray,)`` line integral of what was cut off."""
        if not self.clipped:
            return np.zeros(len(paths))
        lost: Floats = self._lost_mu * paths[..., -1].mean(1)
        return lost

    def take(self, sinogram: Floats) -> Floats:
        """``(ray,)`` values of a ``(view, bin)`` sinogram of all views, float64."""
        return sinogram[self.views].ravel()[self.at].astype(np.float64)

    def listed(self, paths: Floats) -> Floats:
        """``(ray, sub-ray, column)`` of dense ``(view, sub-ray, column)``."""
        out: Floats = paths.reshape(-1, self.subs, paths.shape[-1])[self.at]
        return out

    def dense(self, values: Floats, bins: int) -> Floats:
        """The inverse of :meth:`listed`, 0 off the rays."""
        out = np.zeros((len(self.views) * bins, *values.shape[1:]))
        out[self.at] = values
        return out.reshape(len(self.views), bins * self.subs, values.shape[-1])

    def without_metal(self) -> Floats:
        """Paths of 0."""
        return np.zeros((len(self.at), self.subs, self.columns))

    def model(self, paths: Floats, water: Floats, stray: Floats) -> tuple[Floats, Floats]:
        """What the scanner measures, ``(ray, 4)``, and its slopes by the paths; see the kernel."""
        from ctmar.operators.kernels import polychromatic as kernels

        metal, t = self._metal(paths), self.tables
        out, slopes = np.empty((len(water), 4)), np.empty(metal.shape)
        spectral = (self.planes, t.spectrum, t.mu_water, t.mu_bone, t.mu_metal, t.water_fit)
        over_lines(
            len(water),
            RAYS_A_TASK,
            lambda first, last: kernels.model(
                metal, water, self.bone, stray, *spectral, out, slopes, first, last
            ),
        )
        if self.clipped:
            out[:, 0] -= self._lost(paths)
            slopes = np.concatenate([slopes, np.full((*slopes.shape[:2], 1), -self._lost_mu / self.subs)], 2)
        return out, slopes

    def water_behind(self, measured: Floats, paths: Floats, stray: Floats, start: Floats) -> Floats:
        """Water in mm that explains what was measured behind the paths, within :data:`BOUNDS_MM`."""
        from ctmar.operators.kernels import polychromatic as kernels

        water, t, metal, whole = start.copy(), self.tables, self._metal(paths), measured + self._lost(paths)
        spectral = (self.planes, t.spectrum, t.mu_water, t.mu_bone, t.mu_metal, t.water_fit, BOUNDS_MM)
        over_lines(
            len(water),
            RAYS_A_TASK,
            lambda first, last: kernels.invert(whole, metal, self.bone, stray, *spectral, water, first, last),
        )
        return water


LOST = 10.0
"""Attenuation of what an image lost where it was cut off is counted in so many times that of water."""
BOUNDS_MM = (-100.0, 1200.0)
"""Water that a ray can have seen; less than none where noise says so."""
