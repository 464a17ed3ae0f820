"""Photons counted or integrated: compound Poisson noise, the electronics, and the detector's range."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Dose and detector electronics.

    Attributes:
        photons_per_ray: I0, photons that reach a bin through air; proportional to the mAs.
        electronic: Standard deviation of the electronics' additive noise, in photons.
        saturation: Signal in photons above which the detector shows no more; None for no limit.

    Raises:
        CtmarError: If a value is out of its range.
    """

    photons_per_ray: float
    electronic: float = 0.0
    saturation: float | None = None

    def __post_init__(self) -> None:
        if not self.photons_per_ray > 0:
            raise CtmarError(f"photons_per_ray must be positive or null, got {self.photons_per_ray!r}")
        if not self.electronic >= 0:
            raise CtmarError(f"electronic_noise must not be negative, got {self.electronic!r}")
        if self.saturation is not None and not self.saturation > 0:
            raise CtmarError(f"saturation must be positive or null, got {self.saturation!r}")

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
        if self.electronic:
            reading = reading + generator.normal(0.0, self.electronic, reading.shape)
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
