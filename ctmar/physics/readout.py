"""From the signal in each bin to line integrals: scatter, photons, electronics, and the corrections."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.physics.noise import Noise, current_modulation
from ctmar.physics.optics import Rays
from ctmar.physics.scatter import Scatter
from ctmar.physics.spectra import Spectrum
from ctmar.physics.water import WaterCorrection

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Water:
    """Settings of the water precorrection; see :class:`~ctmar.physics.water.WaterCorrection`."""

    reference_kev: float
    degree: int
    largest_mm: float
    straight: bool


@dataclass(frozen=True)
class Readout:
    """The detector and the scanner's corrections.

    Attributes:
        spectrum: What the detector sees.
        noise: Dose and electronics; None for no noise.
        min_counts: Floor before the logarithm, in photons.
        modulation: Exponent of the tube current's dependence on the patient.
        scatter: Scatter and its correction, if there is any.
        scatter_photons: A constant number of scattered photons in each bin.
        water: The precorrection, if there is one.
    """

    spectrum: Spectrum
    noise: Noise | None
    min_counts: float
    modulation: float
    scatter: Scatter | None
    scatter_photons: float
    water: Water | None
    _known: dict[bytes, WaterCorrection] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.water is not None:
            self._known[b""] = self._fitted(self.water, None)  # what is wrong with it is said here

    def dose(self, without: Tensor, rays: Rays) -> Tensor:
        """``(view, 1)`` photons a ray, 1 where there is no noise; the metal has no say in it.

        Args:
            without: ``(view, bin)`` signal without metal.
            rays: Of the beam.
        """
        if self.noise is None:
            return torch.ones(len(without), 1, dtype=torch.float64)
        thickest = -torch.log((without / rays.air[0]).amin(-1).clamp(min=TINY))
        relative = current_modulation(thickest.double().numpy(), self.modulation)
        return self.noise.photons_per_ray * torch.from_numpy(relative)[:, None]

    def arriving(self, primary: Tensor, rays: Rays) -> tuple[Tensor, Tensor]:
        """``(2, view, bin)`` signal with scattered photons, and ``(view, bin)`` of it that is subtracted."""
        subtracted = torch.zeros_like(primary[0])
        if self.scatter is not None:
            scattered = self.scatter.of(primary[0], rays.air[0], rays.positions_mm)
            subtracted = self.scatter.corrected * scattered
            # Scattered photons are taken to be of the beam's own energies.
            primary = primary + torch.stack([scattered, self.spectrum.noise_factor * scattered])
        if self.scatter_photons and self.noise is not None:
            primary = primary + self.scatter_photons / self.noise.photons_per_ray
        return primary, subtracted

    def expected(self, primary: Tensor, rays: Rays) -> Tensor:
        """Line integrals without noise and without a floor."""
        signal, subtracted = self.arriving(primary, rays)
        return self._line_integrals((signal[0] - subtracted) / rays.air[0], rays)

    def reading(
        self, primary: Tensor, dose: Tensor, where: Tensor, seed: np.random.SeedSequence, rays: Rays
    ) -> Tensor:
        """Line integrals of one noisy reading.

        Args:
            primary: ``(2, view, bin)`` signal.
            dose: ``(view, 1)`` photons a ray.
            where: ``(view, bin)`` bins that are read; elsewhere the result means nothing.
            seed: Of the draw.
            rays: Of the beam.
        """
        if self.noise is None:
            return self.expected(primary, rays)
        signal, subtracted = self.arriving(primary, rays)
        arriving = signal.double() * dose
        counts = arriving[0].clone()
        mean, variance = arriving[:, where].numpy()
        counts[where] = torch.from_numpy(self.noise.draw(mean, variance, seed))
        counts = (counts - subtracted * dose).clamp(min=self.min_counts)
        return self._line_integrals((counts / (dose * rays.air[0])).float(), rays)

    def _line_integrals(self, transmission: Tensor, rays: Rays) -> Tensor:
        sinogram = -torch.log(transmission.clamp(min=TINY))
        return sinogram if self.water is None else self._correction(self.water, rays)(sinogram)

    def _correction(self, water: Water, rays: Rays) -> WaterCorrection:
        """The precorrection of a beam; found once."""
        key = b"" if rays.prefilter is None else rays.prefilter.tobytes()
        if key not in self._known:
            self._known[key] = self._fitted(water, rays.prefilter)
        return self._known[key]

    def _fitted(self, water: Water, prefilter: NDArray[np.float64] | None) -> WaterCorrection:
        settings = (water.reference_kev, water.degree, water.largest_mm, water.straight)
        return WaterCorrection(self.spectrum, *settings, prefilter=prefilter)
