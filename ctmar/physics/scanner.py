"""The scanner: what a CT would have measured of a slice, with its metal and without."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.operators import RayTransform
from ctmar.physics.effects import Effect, Effects, child
from ctmar.physics.exposure import Exposure, Plane
from ctmar.physics.faults import Faults
from ctmar.physics.materials import Material, attenuation, with_own
from ctmar.physics.noise import Noise
from ctmar.physics.optics import Optics
from ctmar.physics.rays import Rays
from ctmar.physics.readout import Readout
from ctmar.physics.scatter import Scatter
from ctmar.physics.trace import Trace
from ctmar.physics.tube import Tube
from ctmar.physics.water import Water

PARTS = (Tube, Optics, Noise, Scatter, Water, Trace, Faults)
"""Each is an argument of its name in small letters."""
WITHOUT, WITH, SIGNS = 0, 1, 4
"""A slice's draws of photons; the streams of random numbers between them and the last are effects' own."""
LAYER_MM = 1.0
"""Water that :meth:`Scanner.expecting` puts on every ray to see what the readings make of it."""


class Acquisition(NamedTuple):
    """One acquisition; each field is ``(slice, angle, detector)`` of the scanner's bins."""

    measured: Tensor
    """Line integrals with metal; float32, finite."""
    clean: Tensor
    """The same without metal; bit-equal off the trace, a noise draw of its own on it."""
    ideal: Tensor
    """Noise-free, metal-free line integrals: what the reference image is reconstructed from."""
    metal_trace: Tensor
    """Bool, True where the metal path exceeds the threshold, and ``trace_dilation`` bins beyond."""
    metal_path_mm: Tensor
    """Mean path through metal over what the bin sees, in mm; 0 off the trace."""


class Scanner:
    """Polychromatic Beer-Lambert acquisition of slices that lie on a finer grid.

    Each part has its settings, off at the default but for what a CT cannot be without. Order: attenuation a
    sub-ray, blur, mean over sub-rays and slice profile (all of intensities), scatter, ``before_log``, photons
    and electronics, saturation, scatter correction, floor, logarithm, water precorrection, ``after_log``.

    Args:
        tube: Potential, filters, bow-tie, and what the detector makes of a photon.
        optics: Sub-rays, blur and slices.
        noise: Dose, electronics and the detector's range.
        scatter: Scattered photons and their correction.
        water: The water precorrection.
        trace: What counts as behind metal, and whether anything is measured there.
        faults: What a published protocol gets wrong.
        reference_kev: Energy to which CT numbers and the water precorrection refer.
        materials: Materials of one's own by name, each ``{formula, density_g_cm3}``, ``{mass_fractions,
            density_g_cm3}`` or a :class:`~ctmar.physics.Material`; they may take a known name.
        before_log: Effects of one's own on the signal that arrives (:class:`~ctmar.physics.effects.Effect`).
        after_log: The same on line integrals.

    Raises:
        CtmarError: If a part is of another kind, or a value out of its range.
    """

    def __init__(
        self,
        tube: Tube = Tube(),
        optics: Optics = Optics(),
        noise: Noise = Noise(),
        scatter: Scatter = Scatter(),
        water: Water = Water(),
        trace: Trace = Trace(),
        faults: Faults = Faults(),
        reference_kev: float = 70.0,
        materials: Mapping[str, Mapping[str, Any] | Material] | None = None,
        before_log: Sequence[Effect] | None = None,
        after_log: Sequence[Effect] | None = None,
    ) -> None:
        _require_parts(tube, optics, noise, scatter, water, trace, faults)
        if noise.photons_per_ray is None and faults.scatter_photons:
            raise CtmarError("scatter_photons needs photons_per_ray, got null")
        self.tube, self.optics, self.trace, self.faults = tube, optics, trace, faults
        self.slice_profile, self.reference_kev = optics.profile, reference_kev
        self.materials = with_own(materials)
        self.spectrum = tube.spectrum(reference_kev, self.materials)
        self.exposure = Exposure(
            self.spectrum,
            self.materials,
            reference_kev,
            optics,
            tube.shaped_by(self.materials),
            faults.metal_replaces_tissue,
        )
        scatters, corrects = scatter.to_primary > 0, water.precorrection and tube.kvp is not None
        # What is wrong with these for this spectrum is said here.
        if scatters:
            scatter.strength(self.spectrum)
        if corrects:
            water.fitted(self.spectrum, reference_kev)
        self.readout = Readout(
            noise,
            scatter if scatters else None,
            water if corrects else None,
            Effects("before_log", tuple(before_log or ()), stream=2, least=0.0),
            faults.scatter_photons,
        )
        self.after_log = Effects("after_log", tuple(after_log or ()), stream=3)
        self._expects = False

    @property
    def oversampling(self) -> int:
        """Pixels and sub-rays a pixel and bin of the grid and beam given to :meth:`acquire`."""
        return self.optics.oversampling

    @property
    def trace_epsilon_mm(self) -> float:
        """Mean path through metal above which a bin belongs to the trace."""
        return self.trace.epsilon_mm

    @property
    def shrink(self) -> float:
        """How many times smaller than they are patients are made."""
        return self.faults.shrink

    @property
    def kvp(self) -> float | None:
        """Tube voltage in kV; None for a beam of one energy."""
        return self.tube.kvp

    @property
    def mu_water(self) -> float:
        """Attenuation of water in 1/mm that ties this scanner's HU to 1/mm."""
        return float(attenuation("water", [self.reference_kev])[0])

    @property
    def margin_slices(self) -> int:
        """Slices that :meth:`acquire` needs on either side of those it measures."""
        return len(self.slice_profile) // 2

    def sensitivity(self, slices: int) -> NDArray[np.float32]:
        """``(slice, plane)`` shares of the planes given to :meth:`acquire` that a slice shows."""
        out = np.zeros((slices, slices + 2 * self.margin_slices), np.float32)
        for n in range(slices):
            out[n, n : n + len(self.slice_profile)] = self.slice_profile
        return out

    def expecting(self) -> "Scanner":
        """The same as it expects to read: no photon is drawn; what effects of one's own draw stays.

        In place of ``measured`` :meth:`acquire` then gives four sinograms on an axis before the slices:
        expected line integrals; the same behind :data:`LAYER_MM` of water; their standard deviation; and that
        with random signs, whose mean square tells what becomes of white noise on the way to other rays.
        ``ideal`` holds the first two without metal. :class:`~ctmar.physics.expectation.Expectation` reads it.
        """
        out = copy(self)
        out._expects = True
        return out

    def of_single_slices(self) -> "Scanner":
        """The same without its slice profile, where something else has taken the slices' mean already."""
        out = copy(self)
        out.slice_profile = (1.0,)
        return out

    def acquire(
        self,
        hu: NDArray[np.float32],
        metal: Mapping[str, NDArray[np.float32]],
        fine: RayTransform[Any],
        noise: Sequence[np.random.SeedSequence],
    ) -> Acquisition:
        """Scans slices once with their metal and once without.

        A slice is the same whether alone or among others: it is projected by itself, and has a seed.

        Args:
            hu: ``(slice, H, W)`` CT numbers without metal on the finer grid; :attr:`margin_slices` more
                slices before and after those that are measured.
            metal: Volume fraction of each metal, same shape, in [0, 1]; it replaces the tissue.
            fine: Ray transform of the finer grid and the refined beam, whose last axis are sub-rays.
            noise: One seed a measured slice.
        """
        expected = len(noise) + 2 * self.margin_slices
        if len(hu) != expected:
            raise CtmarError(f"hu must hold {expected} slices for {len(noise)} seeds, got {len(hu)}")
        layers_mm = (0.0, LAYER_MM) if self._expects else (0.0,)
        planes = [
            self.exposure.planes(hu[n], {k: m[n] for k, m in metal.items()}, fine, layers_mm)
            for n in range(len(hu))
        ]
        seen = [self._through_slices(layer) for layer in zip(*planes, strict=True)]
        rays, together = self.exposure.rays(fine.beam), zip(*seen, noise, strict=True)
        if self._expects:
            parts = [self._expect(plane, more, seed, rays) for plane, more, seed in together]
        else:
            parts = [self._read(plane, seed, rays) for plane, seed in together]
        return Acquisition(*(torch.stack(field, -3) for field in zip(*parts, strict=True)))

    def _through_slices(self, planes: Sequence[Plane]) -> list[Plane]:
        """Each measured slice's mean over planes by the slice profile."""
        width = len(self.slice_profile)
        if width == 1:
            return list(planes)
        return [
            Plane(*(self._mean(part) for part in zip(*planes[n : n + width], strict=True)))
            for n in range(len(planes) - width + 1)
        ]

    def _mean(self, parts: Sequence[Tensor]) -> Tensor:
        """By the slice profile."""
        weighted = (w * part for w, part in zip(self.slice_profile, parts, strict=True))
        return sum(weighted, 0 * parts[0])

    def _read(self, plane: Plane, seed: np.random.SeedSequence, rays: Rays) -> tuple[Tensor, ...]:
        """One slice's fields of :class:`Acquisition` from the signals without metal and with it."""
        trace = self.trace.of(plane.path_mm)
        dose, everywhere = self.readout.dose(plane.without[0], rays), torch.ones_like(trace)
        if self.trace.measures_metal:
            with_metal = self.readout.reading(plane.present, dose, everywhere, rays, seed, WITH)
            drawn = self.readout.reading(plane.without, dose, trace, rays, seed, WITHOUT)
            # Off the trace there is one acquisition: what the metal does there stays in both.
            without = torch.where(trace, drawn, with_metal)
            measured = self.after_log(with_metal, rays, seed)
            clean = torch.where(trace, self.after_log(without, rays, seed), measured)
        else:
            without = self.readout.reading(plane.without, dose, everywhere, rays, seed, WITHOUT)
            clean = self.after_log(without, rays, seed)
            measured = torch.where(trace, 0.0, clean)
        ideal = self.after_log(self.readout.expected(plane.without, rays), rays, None)
        return measured, clean, ideal, trace, torch.where(trace, plane.path_mm, 0.0)

    def _expect(
        self, plane: Plane, layered: Plane, seed: np.random.SeedSequence, rays: Rays
    ) -> tuple[Tensor, ...]:
        """One slice's fields as :meth:`expecting` tells them."""
        trace = self.trace.of(plane.path_mm)
        expected, more = (
            self.after_log(self.readout.expected(one.present, rays, seed), rays, seed)
            for one in (plane, layered)
        )
        ideal, ideal_more = (
            self.after_log(self.readout.expected(one.without, rays), rays, None) for one in (plane, layered)
        )
        dose = self.readout.dose(plane.without[0], rays)
        deviation = self.readout.deviation(plane.present, dose, rays, seed)
        signs = np.random.default_rng(child(seed, SIGNS)).integers(2, size=tuple(deviation.shape)) * 2 - 1
        measured = torch.stack([expected, more, deviation, deviation * torch.from_numpy(signs)])
        without = torch.stack([ideal, ideal_more, *2 * [torch.zeros_like(ideal)]])
        return measured, measured, without, trace, torch.where(trace, plane.path_mm, 0.0)


def _require_parts(*parts: object) -> None:
    for part, kind in zip(parts, PARTS, strict=True):
        if not isinstance(part, kind):
            raise CtmarError(f"{kind.__name__.lower()} must be a {kind.__name__}, got {part!r}")
