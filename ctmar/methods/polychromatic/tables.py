"""What a spectrum makes of metal, water and bone, in few energies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.physics.materials import MATERIALS, attenuation, named
from ctmar.physics.spectra import Spectrum
from ctmar.physics.water import Water

Floats = NDArray[np.float64]
DEPTHS_MM = (1.0, 3.0, 10.0, 30.0)
"""Metal behind which the signal is to be right."""
KVPS = range(70, 151, 10)
"""Tube voltages that the spectra are tabled for."""
USUAL_KVP = 120
LOGGED = np.linspace(-2.0, 30.0, 16001)


@dataclass(frozen=True)
class Beam:
    """What the method takes the scanner to be; the defaults are those of ``scanner=standard``.

    Attributes:
        kvp: Tube voltage in kV; None takes the scan's, and 120 where the scan does not tell.
        filtration_mm: Flat filters beside the tube's own 3 mm of aluminium.
        detector: ``integrating`` or ``counting``: what a photon counts.
        reference_kev: Energy to which CT numbers and the water precorrection refer.
        water: The water precorrection.
        photons_per_ray: Photons that reach a bin through air, at the most: a scan whose own noise tells of
            fewer (:mod:`.noise`) was made with fewer. None (a noise-free scanner) for no noise.
        electronic_noise: Standard deviation of the electronics' noise in photons.
        unexplained: Standard deviation of signal that nothing here explains, as a share of the signal
            through air; scatter that a scanner's correction left is found (:mod:`.scatter`).
        slice_profile: Share of a slice's signal that comes through the slice below, itself and the one above,
            of any sum; None for the slice alone. Neighbours that are not there change nothing.
        energies: How many energies stand for the spectrum. 24 hold a line integral to 0.003 behind 40 mm of
            titanium and to 0.006 behind as much cobalt-chrome as lets a photon of 10,000 pass.
    """

    kvp: int | None = None
    filtration_mm: Mapping[str, float] = field(default_factory=lambda: {"Cu": 0.2})
    detector: str = "integrating"
    reference_kev: float = 70.0
    water: Water = Water()
    photons_per_ray: float | None = 1.0e6
    electronic_noise: float = 5.0
    unexplained: float = 0.0
    energies: int = 24
    slice_profile: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.photons_per_ray is not None and not self.photons_per_ray > 0:
            raise CtmarError(f"photons_per_ray must be positive or null, got {self.photons_per_ray!r}")
        for name in ("electronic_noise", "unexplained"):
            if not getattr(self, name) >= 0:
                raise CtmarError(f"{name} must not be negative, got {getattr(self, name)!r}")
        if self.slice_profile is not None:
            shares = tuple(float(share) for share in self.slice_profile)
            if len(shares) != 3 or min(shares) < 0 or not shares[1] > 0:
                raise CtmarError(
                    f"slice_profile must hold 3 shares from 0 up, the middle positive, got {shares!r}"
                )
        if isinstance(self.energies, bool) or not isinstance(self.energies, int) or self.energies < 2:
            raise CtmarError(f"energies must be a whole number of at least 2, got {self.energies!r}")

    def tables(self, alloys: Sequence[str], kvp: float | None) -> "Tables":
        """The tables of this beam and these alloys; found once for each.

        Args:
            alloys: Names of :data:`~ctmar.physics.materials.MATERIALS`.
            kvp: The scan's tube voltage, where it is known; the nearest of :data:`KVPS` stands for it.
        """
        known = self.kvp if self.kvp is not None else kvp
        nearest = min(KVPS, key=lambda table: abs(table - (USUAL_KVP if known is None else known)))
        filters = tuple(self.filtration_mm.items())
        about = (nearest, filters, self.detector, self.reference_kev, self.water, self.energies)
        return _tables(tuple(alloys), *about)

    def with_at_most(self, photons: float) -> "Beam":
        """This beam with no more photons than that; one without noise stays."""
        if self.photons_per_ray is None or photons >= self.photons_per_ray:
            return self
        return replace(self, photons_per_ray=photons)

    def variance(self, logged: Floats, scattered: Floats) -> Floats:
        """Variance of expected logarithms to first order: photons, electronics, and what is not explained.

        Args:
            logged: ``(ray,)`` expected logarithms.
            scattered: ``(ray,)`` scatter that was found on them, in the signal through air.
        """
        doubt = self.unexplained**2 + (SCATTER_DOUBT * scattered) ** 2
        stray = doubt * np.exp(logged) ** 2
        if self.photons_per_ray is None:
            return stray + NOISELESS
        counts = self.photons_per_ray * np.exp(-logged)
        noise: Floats = 1 / counts + (self.electronic_noise / counts) ** 2 + stray
        return noise


SCATTER_DOUBT = 0.2
"""Standard deviation of the scatter that is found, as a share of it: its shape is a guess."""
NOISELESS = 1e-10
"""Variance of a ray without noise: rounding."""


@dataclass(frozen=True, eq=False)
class Tables:
    """A beam in few energies, and the scanner's water precorrection.

    Attributes:
        spectrum: ``(energy,)`` share of the signal through air that each energy carries, of sum 1.
        mu_water: ``(energy,)`` attenuation of water, 1/mm.
        mu_bone: The same of cortical bone.
        mu_metal: ``(alloy, energy)`` attenuation of each alloy less that of the water which it replaces.
        water_fit: Coefficients of the precorrection's polynomial in the logged value over its largest; that;
            and whether it goes on as a straight line.
        reference_mu: Attenuation of water in 1/mm at the energy that CT numbers refer to.
        full: The spectrum in all its energies.
        curve: Logarithms and what the precorrection makes of them, for :meth:`logged`.
    """

    spectrum: Floats
    mu_water: Floats
    mu_bone: Floats
    mu_metal: Floats
    water_fit: tuple[Floats, float, bool]
    reference_mu: float
    full: Spectrum
    curve: tuple[Floats, Floats]

    def logged(self, corrected: Floats) -> Floats:
        """The logarithms behind line integrals: the precorrection undone, to 1e-5."""
        found: Floats = np.interp(corrected, self.curve[1], self.curve[0])
        return found

    @property
    def heaviness(self) -> Floats:
        """``(alloy,)`` attenuation of each alloy in that of the lightest."""
        mean: Floats = self.mu_metal @ self.spectrum
        return mean / mean.min()


@lru_cache(maxsize=16)
def _tables(
    alloys: tuple[str, ...],
    kvp: int,
    filters: tuple[tuple[str, float], ...],
    detector: str,
    reference_kev: float,
    water: Water,
    energies: int,
) -> Tables:
    if not alloys:
        raise CtmarError("alloys must name at least one material, got none")
    spectrum = Spectrum.tube(kvp, dict(filters), detector)
    names = ("water", "bone", *alloys)
    every = {name: attenuation(named(name, MATERIALS), spectrum.energies_kev) for name in names}
    groups = _groups(spectrum.weights, [every[alloy] for alloy in alloys], energies)
    shares = np.array([spectrum.weights[group].sum() for group in groups])
    few = {
        name: np.array([spectrum.weights[g] @ mu[g] for g in groups]) / shares for name, mu in every.items()
    }
    fit = (np.array([1.0]), 1.0, True)
    curve = (LOGGED, LOGGED)
    if water.precorrection:
        found = water.fitted(spectrum, reference_kev)
        curve = (LOGGED, found(torch.from_numpy(LOGGED)).numpy())
        fit = (np.array([float(c) for c in found.coefficients]), float(found.largest), water.straight)
    mu_metal = np.stack([few[alloy] for alloy in alloys]) - few["water"]
    reference_mu = float(attenuation("water", [reference_kev])[0])
    return Tables(shares, few["water"], few["bone"], mu_metal, fit, reference_mu, spectrum, curve)


def _groups(weights: Floats, metals: Sequence[Floats], count: int) -> list[NDArray[np.int64]]:
    """Neighbouring energies, joined where that errs least.

    Joining errs by the signal that a group carries times the variance of the attenuation in it: groups are as
    wide as the cube root of ``signal · (dμ/dE)²`` asks for, behind all of :data:`DEPTHS_MM` together.
    """
    density = np.zeros(len(weights))
    for mu in metals:
        for depth in DEPTHS_MM:
            left = weights * np.exp(-depth * mu)
            density += np.cbrt(left / left.sum() * (depth * np.gradient(mu)) ** 2)
    run = np.cumsum(density / density.sum())
    place = np.minimum((run - 1e-9) * count, count - 1).astype(np.int64)
    return [np.flatnonzero(place == n) for n in range(count) if (place == n).any()]
