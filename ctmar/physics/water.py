"""Water precorrection: what a polychromatic scanner does so that water is flat and reads 0 HU."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.physics.materials import attenuation
from ctmar.physics.spectra import Spectrum

DEGREE = 8
LARGEST_WATER_MM = 600.0


class WaterCorrection:
    """Maps polychromatic line integrals to those of the same water at one energy.

    A polynomial without constant term, fitted on 0 … 600 mm of water (Kachelrieß, Sourbelle &
    Kalender, Med. Phys. 33:1269, 2006, section II); beyond the fit it goes on as a straight line,
    since a polynomial would run away on rays through metal.

    Args:
        spectrum: The scanner's effective spectrum.
        reference_kev: Energy of the line integrals after correction.
    """

    def __init__(self, spectrum: Spectrum, reference_kev: float) -> None:
        depth = np.linspace(0.0, LARGEST_WATER_MM, 2401)
        mu = attenuation("water", spectrum.energies_kev)
        measured = -np.log(np.exp(-depth[:, None] * mu[None, :]) @ spectrum.weights)
        wanted = depth * attenuation("water", [reference_kev])[0]
        self.largest = float(measured[-1])
        # The variable is scaled to [0, 1]: powers of 12 would lose the fit's last digits.
        powers = (measured[:, None] / self.largest) ** np.arange(1, DEGREE + 1)[None, :]
        self.coefficients: NDArray[np.float64] = np.linalg.lstsq(powers, wanted, rcond=None)[0]
        self.slope = float((self.coefficients * np.arange(1, DEGREE + 1)).sum() / self.largest)

    def __call__(self, sinogram: Tensor) -> Tensor:
        """Corrected line integrals of the same shape and type; 0 stays 0."""
        inside = sinogram.clamp(max=self.largest)
        scaled = inside / self.largest
        total = torch.zeros_like(scaled)
        for coefficient in reversed(self.coefficients.tolist()):
            total = (total + coefficient) * scaled
        return total + (sinogram - inside) * self.slope
