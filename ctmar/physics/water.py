"""Water precorrection: what a polychromatic scanner does so that water is flat and reads 0 HU."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.physics.materials import attenuation
from ctmar.physics.spectra import Spectrum

DEPTHS = 601


class WaterCorrection:
    """Maps polychromatic line integrals to those of the same water at one energy.

    A polynomial without constant term, fitted on water from 0 to a largest thickness (Kachelrieß,
    Sourbelle & Kalender, Med. Phys. 33:1269, 2006, section II); beyond the fit it goes on as a straight
    line, since a polynomial would run away on rays through metal. Behind a bow-tie each bin sees a
    spectrum of its own and has a polynomial of its own.

    Args:
        spectrum: The scanner's effective spectrum.
        reference_kev: Energy of the line integrals after correction.
        degree: Of the polynomial.
        largest_mm: Largest thickness of water in the fit.
        straight: False for the polynomial beyond the fit too, as in older protocols.
        prefilter: ``(bin, energy)`` share of each energy that a bow-tie lets through to each bin.

    Raises:
        CtmarError: If a value is out of its range.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        reference_kev: float,
        degree: int = 8,
        largest_mm: float = 600.0,
        straight: bool = True,
        prefilter: NDArray[np.float64] | None = None,
    ) -> None:
        if isinstance(degree, bool) or not isinstance(degree, int) or not 1 <= degree <= 12:
            raise CtmarError(f"water_degree must be a whole number from 1 to 12, got {degree!r}")
        if not largest_mm > 0:
            raise CtmarError(f"water_largest_mm must be positive, got {largest_mm!r}")
        depth = np.linspace(0.0, largest_mm, DEPTHS)
        wanted = depth * attenuation("water", [reference_kev])[0]
        left = np.exp(-depth[:, None] * attenuation("water", spectrum.energies_kev)[None, :])
        weights = spectrum.weights * (np.ones((1, 1)) if prefilter is None else prefilter)
        kinds, places = np.unique(weights, axis=0, return_inverse=True)
        fits = [_fit(-np.log(left @ kind / kind.sum()), wanted, degree) for kind in kinds]
        # One polynomial for all bins, or (bin,) of each number.
        chosen = np.array(fits)[places.reshape(-1)].T
        values = chosen[:, 0] if prefilter is None else chosen
        self.largest, *coefficients = (torch.as_tensor(value) for value in values)
        self.coefficients: list[Tensor] = coefficients
        self.straight = straight

    def __call__(self, sinogram: Tensor) -> Tensor:
        """Corrected line integrals of the same shape and type; 0 stays 0."""
        largest = self.largest.to(sinogram)
        inside = torch.minimum(sinogram, largest) if self.straight else sinogram
        scaled = inside / largest
        total, slope = torch.zeros_like(scaled), torch.zeros_like(largest)
        for n in range(len(self.coefficients), 0, -1):
            coefficient = self.coefficients[n - 1].to(sinogram)
            total = (total + coefficient) * scaled
            slope += n * coefficient
        return total + (sinogram - inside) * (slope / largest)


def _fit(measured: NDArray[np.float64], wanted: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """The largest measured value, and the coefficients of a polynomial in measured over largest."""
    # The variable is scaled to [0, 1]: powers of 12 would lose the fit's last digits.
    powers = (measured[:, None] / measured[-1]) ** np.arange(1, degree + 1)[None, :]
    return np.r_[measured[-1], np.linalg.lstsq(powers, wanted, rcond=None)[0]]
