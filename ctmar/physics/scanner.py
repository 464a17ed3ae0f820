"""The scanner: what a CT would have measured of a slice, with its metal and without."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.operators import RayTransform
from ctmar.physics.bowtie import Bowtie
from ctmar.physics.detector import dilated
from ctmar.physics.materials import MATERIALS, Material, attenuation, named
from ctmar.physics.noise import Noise
from ctmar.physics.optics import Optics, Plane, Rays
from ctmar.physics.readout import Readout, Water
from ctmar.physics.scatter import Scatter
from ctmar.physics.spectra import Spectrum


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

    Every effect is a switch of its own; what it needs is off at the default, but for the ones a CT cannot be
    without. Order: attenuation a sub-ray, blur, mean over sub-rays and slice profile (all of intensities),
    scatter, photons and electronics, saturation, scatter correction, floor, logarithm, water precorrection.

    Args:
        kvp: Tube potential in kV; None for a monoenergetic beam at ``reference_kev``.
        filtration_mm: Flat filters beside the tube's own 3 mm of aluminium.
        energies_kev: Lowest and highest energy of the spectrum; None for all.
        bowtie: ``material`` and ``profile_mm`` of :class:`~ctmar.physics.bowtie.Bowtie`, or None.
        detector: ``integrating`` or ``counting``: what a photon counts.
        reference_kev: Energy to which CT numbers and the water precorrection refer.
        photons_per_ray: I0, photons that reach a detector bin through air (without a bow-tie): the dose, in
            proportion to the mAs; None for no noise.
        electronic_noise: Standard deviation of the electronics' additive noise, in photons.
        min_counts: Floor of the counts before the logarithm, in photons.
        saturation: Most the detector shows, in photons; None for no limit.
        current_modulation: Exponent of the tube current's dependence on the patient, a view each
            (:func:`~ctmar.physics.noise.current_modulation`); 0 for a constant current.
        scatter_to_primary: Scatter behind the middle of 300 mm of water, as a share of the primary.
        scatter_fwhm_mm: Width of its kernel.
        scatter_correction: Share of the scatter that the scanner subtracts.
        scatter_photons: A constant number of scattered photons in each bin, uncorrected.
        focal_spot_mm: Width of the focal spot's image at the axis of rotation.
        detector_blur_mm: Full width at half maximum of the detector's response there.
        slice_profile: Weights of the slices below, at and above each slice, an odd number; None for the slice
            alone. More than one needs as many more slices on either side in :meth:`acquire`.
        water_precorrection: Whether line integrals are brought to the reference energy for water.
        water_degree: Degree of its polynomial.
        water_largest_mm: Largest thickness of water in its fit.
        water_straight: Whether it goes on as a straight line beyond.
        measures_metal: False for the essay's ideal, in which nothing is measured behind metal and
            the trace holds zero.
        metal_replaces_tissue: False adds the metal on top of the tissue: a known fault.
        materials: Materials of one's own, ``{name: {formula, density_g_cm3}}``; they may take a known name.
        oversampling: Pixels and sub-rays a pixel and bin; sub-rays are averaged as intensities.
        trace_epsilon_mm: Mean path through metal above which a bin belongs to the trace.
        trace_dilation: Bins by which the trace is wider than that.
        shrink: Patients are this many times smaller than they are: a known fault of published protocols. The
            simulator makes it true, by a grid and a beam so much smaller for the same pixels.

    Raises:
        CtmarError: If a value is out of its range.
    """

    def __init__(
        self,
        kvp: int | None = 120,
        filtration_mm: Mapping[str, float] | None = None,
        energies_kev: Sequence[float] | None = None,
        bowtie: Mapping[str, Any] | None = None,
        detector: str = "integrating",
        reference_kev: float = 70.0,
        photons_per_ray: float | None = 1.0e6,
        electronic_noise: float = 0.0,
        min_counts: float = 1.0,
        saturation: float | None = None,
        current_modulation: float = 0.0,
        scatter_to_primary: float = 0.0,
        scatter_fwhm_mm: float = 100.0,
        scatter_correction: float = 0.0,
        scatter_photons: float = 0.0,
        focal_spot_mm: float = 0.0,
        detector_blur_mm: float = 0.0,
        slice_profile: Sequence[float] | None = None,
        water_precorrection: bool = True,
        water_degree: int = 8,
        water_largest_mm: float = 600.0,
        water_straight: bool = True,
        measures_metal: bool = True,
        metal_replaces_tissue: bool = True,
        materials: Mapping[str, Mapping[str, Any]] | None = None,
        oversampling: int = 2,
        trace_epsilon_mm: float = 0.1,
        trace_dilation: int = 1,
        shrink: float = 1.0,
    ) -> None:
        _require(min_counts > 0, "min_counts must be positive", min_counts)
        _require(trace_epsilon_mm > 0, "trace_epsilon_mm must be positive", trace_epsilon_mm)
        _require(shrink > 0, "shrink must be positive", shrink)
        _require(_whole(oversampling, 1), "oversampling must be a positive whole number", oversampling)
        _require(_whole(trace_dilation, 0), "trace_dilation must be a whole number from 0", trace_dilation)
        for name, value in (
            ("current_modulation", current_modulation),
            ("scatter_photons", scatter_photons),
            ("focal_spot_mm", focal_spot_mm),
            ("detector_blur_mm", detector_blur_mm),
        ):
            _require(value >= 0, f"{name} must not be negative", value)
        self.materials = MATERIALS | {
            name: Material.of(**_keys(name, ("formula", "density_g_cm3"), given))
            for name, given in (materials or {}).items()
        }
        self.spectrum = (
            Spectrum.mono(reference_kev)
            if kvp is None
            else Spectrum.tube(kvp, dict(filtration_mm or {}), detector, energies_kev, self.materials)
        )
        self.reference_kev, self.oversampling = reference_kev, oversampling
        self.optics = Optics(
            self.spectrum,
            self.materials,
            reference_kev,
            oversampling,
            _bowtie(bowtie, self.materials),
            focal_spot_mm,
            detector_blur_mm,
            metal_replaces_tissue,
        )
        noise = None if photons_per_ray is None else Noise(photons_per_ray, electronic_noise, saturation)
        if noise is None and scatter_photons:
            raise CtmarError("scatter_photons needs photons_per_ray, got null")
        scatter = Scatter(self.spectrum, scatter_to_primary, scatter_fwhm_mm, scatter_correction)
        water = Water(reference_kev, water_degree, water_largest_mm, water_straight)
        self.readout = Readout(
            self.spectrum,
            noise,
            min_counts,
            current_modulation,
            scatter if scatter_to_primary else None,
            scatter_photons,
            water if water_precorrection and kvp is not None else None,
        )
        self.slice_profile = _profile(slice_profile)
        self.measures_metal, self.shrink = measures_metal, float(shrink)
        self.trace_epsilon_mm, self.trace_dilation = trace_epsilon_mm, trace_dilation

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
        planes = [self.optics.plane(hu[n], {k: m[n] for k, m in metal.items()}, fine) for n in range(len(hu))]
        seen = [self._through_slices(list(part)) for part in zip(*planes, strict=True)]
        rays = self.optics.rays(fine.beam)
        parts = [self._read(Plane(*one), seed, rays) for *one, seed in zip(*seen, noise, strict=True)]
        return Acquisition(*(torch.stack(field) for field in zip(*parts, strict=True)))

    def _through_slices(self, planes: list[Tensor]) -> list[Tensor]:
        """Each measured slice's mean over planes by the slice profile."""
        width = len(self.slice_profile)
        if width == 1:
            return planes
        return [
            sum(
                (w * p for w, p in zip(self.slice_profile, planes[n : n + width], strict=True)), 0 * planes[n]
            )
            for n in range(len(planes) - width + 1)
        ]

    def _read(self, plane: Plane, seed: np.random.SeedSequence, rays: Rays) -> tuple[Tensor, ...]:
        """One slice's fields of :class:`Acquisition` from the signals without metal and with it."""
        trace = dilated(plane.path_mm > self.trace_epsilon_mm, self.trace_dilation)
        dose, everywhere = self.readout.dose(plane.without[0], rays), torch.ones_like(trace)
        if self.measures_metal:
            measured = self.readout.reading(plane.present, dose, everywhere, _child(seed, 1), rays)
            # Off the trace there is one acquisition: what the metal does there stays in both.
            drawn = self.readout.reading(plane.without, dose, trace, _child(seed, 0), rays)
            clean = torch.where(trace, drawn, measured)
        else:
            clean = self.readout.reading(plane.without, dose, everywhere, _child(seed, 0), rays)
            measured = torch.where(trace, 0.0, clean)
        ideal = self.readout.expected(plane.without, rays)
        return measured, clean, ideal, trace, torch.where(trace, plane.path_mm, 0.0)


def _child(seed: np.random.SeedSequence, n: int) -> np.random.SeedSequence:
    """Child n of a seed; unlike ``spawn`` the same one every time."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, n))


def _require(fine: bool, message: str, got: object) -> None:
    if not fine:
        raise CtmarError(f"{message}, got {got!r}")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _keys(name: str, keys: tuple[str, ...], given: Any) -> dict[str, Any]:
    """The mapping, if it has just these keys."""
    if not isinstance(given, Mapping) or set(given) != set(keys):
        raise CtmarError(f"{name} must have the keys {', '.join(keys)}, got {given!r}")
    return dict(given)


def _bowtie(given: Any, materials: Mapping[str, Material]) -> Bowtie | None:
    """The bow-tie, if there is one, of a known material."""
    if not given:
        return None
    bowtie = Bowtie(**_keys("bowtie", ("material", "profile_mm"), given))
    named(bowtie.material, materials)
    return bowtie


def _profile(weights: Sequence[float] | None) -> tuple[float, ...]:
    """Weights of an odd number of slices, of sum 1."""
    given = tuple(float(w) for w in (weights or (1.0,)))
    if len(given) % 2 == 0 or min(given) < 0 or not sum(given) > 0:
        raise CtmarError(f"slice_profile must hold an odd number of weights from 0 up, got {weights!r}")
    return tuple(w / sum(given) for w in given)
