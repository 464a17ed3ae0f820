"""From the signal in each bin to line integrals: scatter, photons, electronics, and the corrections."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctmar.physics.effects import Effects, child
from ctmar.physics.noise import Noise
from ctmar.physics.rays import Rays
from ctmar.physics.scatter import Scatter
from ctmar.physics.water import Water

TINY = torch.finfo(torch.float32).tiny
UNKNOWN = 1.0e3
"""Standard deviation of a line integral of which the detector says nothing."""
STEP = 0.01
"""Of line integrals, for slopes of the water precorrection."""


@dataclass(frozen=True)
class Readout:
    """The detector and the scanner's corrections.

    Attributes:
        noise: Dose and electronics.
        scatter: Scatter and its correction, if there is any.
        water: The precorrection, if there is one.
        before_log: Effects on the signal that arrives.
        scatter_photons: A constant number of scattered photons in each bin.
    """

    noise: Noise
    scatter: Scatter | None
    water: Water | None
    before_log: Effects
    scatter_photons: float = 0.0

    def dose(self, without: Tensor, rays: Rays) -> Tensor:
        """``(view, 1)`` photons a ray, 1 where there is no noise; the metal has no say in it.

        Args:
            without: ``(view, bin)`` signal without metal.
            rays: Of the beam.
        """
        thickest = -torch.log((without / rays.air[0]).amin(-1).clamp(min=TINY))
        return torch.from_numpy(self.noise.dose(thickest.double().numpy()))[:, None]

    def expected(self, primary: Tensor, rays: Rays, seed: np.random.SeedSequence | None = None) -> Tensor:
        """Line integrals without noise and without a floor; effects draw with a seed alone."""
        signal, subtracted = self._arriving(primary, rays, seed)
        return self._line_integrals((signal[0] - subtracted) / rays.air[0], rays)

    def reading(
        self,
        primary: Tensor,
        dose: Tensor,
        where: Tensor,
        rays: Rays,
        seed: np.random.SeedSequence,
        draw: int,
    ) -> Tensor:
        """Line integrals of one noisy reading.

        Args:
            primary: ``(2, view, bin)`` signal.
            dose: ``(view, 1)`` photons a ray.
            where: ``(view, bin)`` bins that are read; elsewhere the result means nothing.
            rays: Of the beam.
            seed: Of the slice.
            draw: Which of the slice's draws of photons it is.
        """
        if self.noise.photons_per_ray is None:
            return self.expected(primary, rays, seed)
        signal, subtracted = self._arriving(primary, rays, seed)
        arriving = signal.double() * dose
        counts = arriving[0].clone()
        mean, variance = arriving[:, where].numpy()
        counts[where] = torch.from_numpy(self.noise.draw(mean, variance, child(seed, draw)))
        counts = (counts - subtracted * dose).clamp(min=self.noise.min_counts)
        return self._line_integrals((counts / (dose * rays.air[0])).float(), rays)

    def deviation(self, primary: Tensor, dose: Tensor, rays: Rays, seed: np.random.SeedSequence) -> Tensor:
        """Standard deviation of a reading's line integrals to first order, ``(view, bin)``.

        Photons and electronics, in that of the line integral by the logarithm's slope and the water
        precorrection's; :data:`UNKNOWN` where the expected reading is at the detector's floor or ceiling.

        Args:
            primary: As in :meth:`reading`.
            dose: As there.
            rays: Of the beam.
            seed: Of the slice; effects alone draw.
        """
        if self.noise.photons_per_ray is None:
            return torch.zeros_like(primary[0])
        signal, subtracted = self._arriving(primary, rays, seed)
        mean, variance = signal.double() * dose
        counts = mean - subtracted * dose
        ceiling = np.inf if self.noise.saturation is None else self.noise.saturation
        told = (counts > self.noise.min_counts) & (mean < ceiling)
        transmission = (counts.clamp(min=self.noise.min_counts) / (dose * rays.air[0])).float()
        there, beyond = (self._line_integrals(transmission * np.exp(-step), rays) for step in (0.0, STEP))
        relative = (variance + self.noise.electronic_noise**2).sqrt() / counts
        return torch.where(told, (beyond - there) / STEP * relative.float(), UNKNOWN)

    def _arriving(
        self, primary: Tensor, rays: Rays, seed: np.random.SeedSequence | None
    ) -> tuple[Tensor, Tensor]:
        """``(2, view, bin)`` signal with all that joins it, and ``(view, bin)`` of it that is subtracted."""
        subtracted = torch.zeros_like(primary[0])
        if self.scatter is not None:
            scattered = self.scatter.of(primary[0], rays)
            subtracted = self.scatter.correction * scattered
            # Scattered photons are taken to be of the beam's own energies.
            primary = primary + torch.stack([scattered, rays.spectrum.noise_factor * scattered])
        if self.scatter_photons and self.noise.photons_per_ray is not None:
            primary = primary + self.scatter_photons / self.noise.photons_per_ray
        return self.before_log(primary, rays, seed), subtracted

    def _line_integrals(self, transmission: Tensor, rays: Rays) -> Tensor:
        sinogram = -torch.log(transmission.clamp(min=TINY))
        return sinogram if self.water is None else self.water(sinogram, rays)
