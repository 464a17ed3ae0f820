"""Water precorrection: what a polychromatic scanner does so that water is flat and reads 0 HU."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.physics.materials import attenuation
from ctmar.physics.rays import Rays
from ctmar.physics.spectra import Spectrum

DEPTHS = 601


@dataclass(frozen=True)
class Water:
    """Settings of the water precorrection.

    Attributes:
        precorrection: Whether line integrals are brought to the reference energy for water.
        degree: Degree of the polynomial.
        largest_mm: Largest thickness of water in its fit.
        straight: Whether it goes on as a straight line beyond; False for the polynomial, as in older
            protocols.

    Raises:
        CtmarError: If a value is out of its range.
    """

    precorrection: bool = True
    degree: int = 8
    largest_mm: float = 600.0
    straight: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or not 1 <= self.degree <= 12:
            raise CtmarError(f"water.degree must be a whole number from 1 to 12, got {self.degree!r}")
        if not self.largest_mm > 0:
            raise CtmarError(f"water.largest_mm must be positive, got {self.largest_mm!r}")

    def __call__(self, sinogram: Tensor, rays: Rays) -> Tensor:
        """Line integrals ``(view, bin)`` after the precorrection."""
        return self.fitted(rays.spectrum, rays.reference_kev, rays.prefilter)(sinogram)

    def fitted(
        self, spectrum: Spectrum, reference_kev: float, prefilter: NDArray[np.float64] | None = None
    ) -> "WaterCorrection":
        """The precorrection of a beam; found once."""
        return _fitted(self, spectrum, reference_kev, None if prefilter is None else prefilter.tobytes())


class WaterCorrection:
    """Maps polychromatic line integrals to those of the same water at one energy.

    A polynomial without constant term, fitted on water from 0 to a largest thickness (Kachelrieß,
    Sourbelle & Kalender, Med. Phys. 33:1269, 2006, section II); beyond the fit it goes on as a straight
    line, since a polynomial would run away on rays through metal. Behind a bow-tie each bin sees a
    spectrum of its own and has a polynomial of its own.

    Args:
        water: Degree, range and what is beyond.
        spectrum: The scanner's effective spectrum.
        reference_kev: Energy of the line integrals after correction.
        prefilter: ``(bin, energy)`` share of each energy that a bow-tie lets through to each bin.
    """

    def __init__(
        self,
        water: Water,
        spectrum: Spectrum,
        reference_kev: float,
        prefilter: NDArray[np.float64] | None = None,
    ) -> None:
        depth = np.linspace(0.0, water.largest_mm, DEPTHS)
        wanted = depth * attenuation("water", [reference_kev])[0]
        left = np.exp(-depth[:, None] * attenuation("water", spectrum.energies_kev)[None, :])
        weights = spectrum.weights * (np.ones((1, 1)) if prefilter is None else prefilter)
        kinds, places = np.unique(weights, axis=0, return_inverse=True)
        fits = [_fit(-np.log(left @ kind / kind.sum()), wanted, water.degree) for kind in kinds]
        # One polynomial for all bins, or (bin,) of each number.
        chosen = np.array(fits)[places.reshape(-1)].T
        values = chosen[:, 0] if prefilter is None else chosen
        self.largest, *coefficients = (torch.as_tensor(value) for value in values)
        self.coefficients: list[Tensor] = coefficients
        self.straight = water.straight

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


@lru_cache(maxsize=16)
def _fitted(
    water: Water, spectrum: Spectrum, reference_kev: float, prefilter: bytes | None
) -> WaterCorrection:
    """The precorrection; an array is no key of what is kept, its bytes are."""
    shares = None if prefilter is None else np.frombuffer(prefilter).reshape(-1, len(spectrum.weights))
    return WaterCorrection(water, spectrum, reference_kev, shares)


def _fit(measured: NDArray[np.float64], wanted: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    """The largest measured value, and the coefficients of a polynomial in measured over largest."""
    # The variable is scaled to [0, 1]: powers of 12 would lose the fit's last digits.
    powers = (measured[:, None] / measured[-1]) ** np.arange(1, degree + 1)[None, :]
    return np.r_[measured[-1], np.linalg.lstsq(powers, wanted, rcond=None)[0]]
