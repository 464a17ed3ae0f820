"""Scattered photons: a broad, smooth background made by the primary beam itself, and its correction."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.physics.detector import FWHM_PER_SIGMA
from ctmar.physics.materials import attenuation
from ctmar.physics.spectra import Spectrum

REFERENCE_WATER_MM = 300.0
"""Diameter of the water cylinder behind whose middle the scatter-to-primary ratio is as configured."""


class Scatter:
    """Scatter by convolution: ``S = c K * (I ln(I0 / I))``, K a Gaussian along the detector.

    A ray that meets nothing scatters nothing, and one that is absorbed does not either; the most comes
    from in between (Ohnesorge, Flohr & Klingenbeck-Regn, Eur. Radiol. 9:563, 1999). Within the slice
    alone: neighbouring slices are taken to scatter alike. Of the result the scanner subtracts a share,
    as its own estimate of a smooth background; the noise of the scattered photons stays.

    Args:
        spectrum: What the detector sees.
        scatter_to_primary: Ratio behind the middle of 300 mm of water.
        fwhm_mm: Full width at half maximum of the kernel, at the axis of rotation.
        corrected: Share that the scanner's correction takes away, in [0, 1].

    Raises:
        CtmarError: If a value is out of its range.
    """

    def __init__(
        self, spectrum: Spectrum, scatter_to_primary: float, fwhm_mm: float, corrected: float
    ) -> None:
        if not scatter_to_primary >= 0:
            raise CtmarError(f"scatter_to_primary must not be negative, got {scatter_to_primary!r}")
        if not fwhm_mm > 0:
            raise CtmarError(f"scatter_fwhm_mm must be positive, got {fwhm_mm!r}")
        if not 0 <= corrected <= 1:
            raise CtmarError(f"scatter_correction must be in [0, 1], got {corrected!r}")
        self.sigma_mm, self.corrected = fwhm_mm / FWHM_PER_SIGMA, corrected
        s = np.arange(-REFERENCE_WATER_MM / 2, REFERENCE_WATER_MM / 2 + 0.5)
        chord = 2 * np.sqrt(np.maximum((REFERENCE_WATER_MM / 2) ** 2 - s**2, 0.0))
        mu = attenuation("water", spectrum.energies_kev)
        primary = np.exp(-chord[:, None] * mu) @ spectrum.weights
        spread = float(self._kernel(np.zeros(1), s)[0] @ (-primary * np.log(primary)))
        self.strength = scatter_to_primary * float(primary[len(s) // 2]) / spread

    def of(self, primary: Tensor, air: Tensor, positions_mm: NDArray[np.float64]) -> Tensor:
        """Scattered signal in each bin.

        Args:
            primary: ``(view, bin)`` signal, float32.
            air: ``(bin,)`` signal without a patient.
            positions_mm: The bins' distances from the axis.
        """
        share = (primary / air).clamp(min=torch.finfo(torch.float32).tiny)
        source = -primary * torch.log(share)
        kernel = torch.from_numpy(self._kernel(positions_mm, positions_mm)).to(primary)
        return self.strength * (source @ kernel.T).clamp(min=0.0)

    def _kernel(self, to: NDArray[np.float64], source: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(to, source)`` weights of the Gaussian, each source standing for its own width."""
        gauss = np.exp(-0.5 * ((to[:, None] - source[None, :]) / self.sigma_mm) ** 2)
        return gauss * np.abs(np.gradient(source)) / (self.sigma_mm * np.sqrt(2 * np.pi))
