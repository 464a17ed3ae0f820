"""Scattered photons: a broad, smooth background made by the primary beam itself, and its correction."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.physics.detector import FWHM_PER_SIGMA
from ctmar.physics.materials import attenuation
from ctmar.physics.rays import Rays
from ctmar.physics.spectra import Spectrum

REFERENCE_WATER_MM = 300.0
"""Diameter of the water cylinder behind whose middle the scatter-to-primary ratio is as configured."""


@dataclass(frozen=True)
class Scatter:
    """Scatter by convolution: ``S = c K * (I ln(I0 / I))``, K a Gaussian along the detector.

    A ray that meets nothing scatters nothing, and one that is absorbed does not either; the most comes
    from in between (Ohnesorge, Flohr & Klingenbeck-Regn, Eur. Radiol. 9:563, 1999). Within the slice
    alone: neighbouring slices are taken to scatter alike. Of the result the scanner subtracts a share,
    as its own estimate of a smooth background; the noise of the scattered photons stays.

    Attributes:
        to_primary: Scatter in that of the primary behind the middle of 300 mm of water; 0 for none.
        fwhm_mm: Full width at half maximum of the kernel, at the axis of rotation.
        correction: Share that the scanner's correction takes away, in [0, 1].

    Raises:
        CtmarError: If a value is out of its range.
    """

    to_primary: float = 0.0
    fwhm_mm: float = 100.0
    correction: float = 0.0

    def __post_init__(self) -> None:
        if not self.to_primary >= 0:
            raise CtmarError(f"scatter.to_primary must not be negative, got {self.to_primary!r}")
        if not self.fwhm_mm > 0:
            raise CtmarError(f"scatter.fwhm_mm must be positive, got {self.fwhm_mm!r}")
        if not 0 <= self.correction <= 1:
            raise CtmarError(f"scatter.correction must be in [0, 1], got {self.correction!r}")

    def of(self, primary: Tensor, rays: Rays) -> Tensor:
        """Scattered signal in each bin.

        Args:
            primary: ``(view, bin)`` signal, float32.
            rays: The bins.
        """
        share = (primary / rays.air[0]).clamp(min=torch.finfo(torch.float32).tiny)
        source = -primary * torch.log(share)
        kernel = torch.from_numpy(self.kernel(rays.positions_mm, rays.positions_mm)).to(primary)
        return self.strength(rays.spectrum) * (source @ kernel.T).clamp(min=0.0)

    def strength(self, spectrum: Spectrum) -> float:
        """The factor c for a spectrum."""
        return _strength(self, spectrum)

    def kernel(self, to: NDArray[np.float64], source: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(to, source)`` weights of the Gaussian, each source standing for its own width."""
        sigma_mm = self.fwhm_mm / FWHM_PER_SIGMA
        gauss = np.exp(-0.5 * ((to[:, None] - source[None, :]) / sigma_mm) ** 2)
        return gauss * np.abs(np.gradient(source)) / (sigma_mm * np.sqrt(2 * np.pi))


@lru_cache(maxsize=16)
def _strength(scatter: Scatter, spectrum: Spectrum) -> float:
    s = np.arange(-REFERENCE_WATER_MM / 2, REFERENCE_WATER_MM / 2 + 0.5)
    chord = 2 * np.sqrt(np.maximum((REFERENCE_WATER_MM / 2) ** 2 - s**2, 0.0))
    mu = attenuation("water", spectrum.energies_kev)
    primary = np.exp(-chord[:, None] * mu) @ spectrum.weights
    spread = float(scatter.kernel(np.zeros(1), s)[0] @ (-primary * np.log(primary)))
    return scatter.to_primary * float(primary[len(s) // 2]) / spread
