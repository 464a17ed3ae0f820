"""Photons counted or integrated: compound Poisson noise, the electronics, and the detector's range."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Dose, detector electronics, and the range of what the detector shows.

    Attributes:
        photons_per_ray: I0, photons that reach a detector bin through air (without a bow-tie): the dose, in
            proportion to the mAs; None for no noise.
        electronic_noise: Standard deviation of the electronics' additive noise, in photons.
        min_counts: Floor of the counts before the logarithm, in photons.
        saturation: Most the detector shows, in photons; None for no limit.
        current_modulation: Exponent of the tube current's dependence on the patient, a view each
            (:func:`current_modulation`); 0 for a constant current.

    Raises:
        CtmarError: If a value is out of its range.
    """

    photons_per_ray: float | None = 1.0e6
    electronic_noise: float = 0.0
    min_counts: float = 1.0
    saturation: float | None = None
    current_modulation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("photons_per_ray", self.photons_per_ray), ("saturation", self.saturation)):
            if value is not None and not value > 0:
                raise CtmarError(f"{name} must be positive or null, got {value!r}")
        if not self.min_counts > 0:
            raise CtmarError(f"min_counts must be positive, got {self.min_counts!r}")
        for name, value in (
            ("electronic_noise", self.electronic_noise),
            ("current_modulation", self.current_modulation),
        ):
            if not value >= 0:
                raise CtmarError(f"{name} must not be negative, got {value!r}")

    def dose(self, thickest: Floats) -> Floats:
        """Photons a ray of each view, 1 where there is no noise.

        Args:
            thickest: Largest line integral of each view.
        """
        if self.photons_per_ray is None:
            return np.ones(len(thickest))
        return self.photons_per_ray * current_modulation(thickest, self.current_modulation)

    def draw(self, mean: Floats, variance: Floats, seed: np.random.SeedSequence) -> Floats:
        """One reading of the detector, in photons.

        The sum over photons of what each is worth is a compound Poisson variable. It is drawn as a
        multiple of a Poisson variable with the same mean and variance (Whiting et al., Med. Phys.
        33:3290, 2006, compare this with the exact law); for a counting detector it is exact.

        Args:
            mean: Expected signal, in photons.
            variance: Its variance, in photons².
            seed: Of the draw.
        """
        generator = np.random.default_rng(seed)
        worth = np.divide(variance, mean, out=np.ones_like(mean), where=mean > 0)
        reading: Floats = worth * generator.poisson(mean / worth).astype(np.float64)
        if self.electronic_noise:
            reading = reading + generator.normal(0.0, self.electronic_noise, reading.shape)
        return reading if self.saturation is None else np.minimum(reading, self.saturation)


def current_modulation(attenuation: Floats, strength: float) -> Floats:
    """Tube current of each view as a multiple of the mean: more where the patient is thick.

    Proportional to ``exp(strength · p)``, p the view's largest line integral; 0.5 makes the noise of the
    image least for a given dose (Gies et al., Med. Phys. 26:2235, 1999).

    Args:
        attenuation: Largest line integral of each view.
        strength: 0 for a constant current, 1 for constant noise behind the thickest part.
    """
    relative = np.exp(strength * (attenuation - attenuation.max()))
    return np.asarray(relative / relative.mean())
