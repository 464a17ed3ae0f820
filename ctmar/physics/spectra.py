"""What energies the detector sees: tube spectra after filtration, weighted by its response."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.physics.materials import MATERIALS, Material, attenuation, named

DETECTORS = ("integrating", "counting")


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The photons that a detector sees through air, by energy; equal to itself alone.

    Attributes:
        energies_kev: Energies in keV.
        weights: Share of the signal that each carries through air; sum 1.
        variance_weights: Share of the signal's variance, in the variance of as many counted photons. For a
            counting detector the same as ``weights``; a photon of energy E of an integrating one counts
            ``E / E[E]``, so that they sum to ``E[E²] / E[E]²``, its noise factor (Swank, J. Appl. Phys.
            44:4199, 1973; Whiting et al., Med. Phys. 33:3290, 2006).
    """

    energies_kev: NDArray[np.float64]
    weights: NDArray[np.float64]
    variance_weights: NDArray[np.float64]

    @property
    def noise_factor(self) -> float:
        """Variance of the signal through air in that of as many counted photons, ``E[E²] / E[E]²``."""
        return float(self.variance_weights.sum())

    @staticmethod
    def mono(energy_kev: float) -> "Spectrum":
        """All photons at one energy."""
        if not 10.0 <= energy_kev <= 200.0:
            raise CtmarError(f"energy_kev must be in [10, 200], got {energy_kev!r}")
        return Spectrum(np.array([energy_kev]), np.array([1.0]), np.array([1.0]))

    @staticmethod
    def tube(
        kvp: int,
        filtration_mm: Mapping[str, float],
        detector: str = "integrating",
        energies_kev: Sequence[float] | None = None,
        materials: Mapping[str, Material] = MATERIALS,
    ) -> "Spectrum":
        """A tungsten tube behind flat filters.

        Args:
            kvp: Tube potential, one of the table's (70, 80 … 150 kV).
            filtration_mm: Thickness of each filter, added to the table's 3 mm of aluminium.
            detector: ``integrating`` weights photons by their energy, ``counting`` does not.
            energies_kev: Lowest and highest energy that is kept; None for all.
            materials: What the filters' names stand for.
        """
        energies, photons = filtered(kvp, filtration_mm, materials)
        if detector not in DETECTORS:
            raise CtmarError(f"detector must be one of {', '.join(DETECTORS)}, got {detector!r}")
        if energies_kev is not None:
            photons = photons * _within(energies, energies_kev)
        response = energies if detector == "integrating" else np.ones_like(energies)
        signal = photons * response
        # Bins that carry less than a millionth of the signal cost time and change nothing.
        kept = signal > 1e-6 * signal.sum()
        photons, response, signal = photons[kept], response[kept], signal[kept]
        mean = signal.sum() / photons.sum()
        return Spectrum(
            energies[kept], signal / signal.sum(), photons * (response / mean) ** 2 / photons.sum()
        )


def filtered(
    kvp: int, filtration_mm: Mapping[str, float], materials: Mapping[str, Material] = MATERIALS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies in keV and photons behind the filters, as shares of those the table starts from."""
    energies, table, _ = _tungsten()
    if kvp not in table:
        raise CtmarError(f"kvp must be one of {', '.join(map(str, table))}, got {kvp!r}")
    photons = table[kvp].copy()
    for material, thickness in filtration_mm.items():
        photons *= np.exp(-attenuation(named(material, materials), energies) * thickness)
    return energies, photons


def photons_per_ray(
    kvp: int,
    mas: float,
    area_mm2: float,
    distance_mm: float,
    filtration_mm: Mapping[str, float] | None = None,
) -> float:
    """Photons that reach a detector element through air: what a tube's mAs comes to as I0.

    Args:
        kvp: Tube potential, one of the table's.
        mas: Tube current times the time of one view, in mAs.
        area_mm2: Area of the element; times its efficiency, if that is known.
        distance_mm: From the focal spot to the detector.
        filtration_mm: Filters beside the table's 3 mm of aluminium.
    """
    _, photons = filtered(kvp, filtration_mm or {})
    per_mm2 = _tungsten()[2][kvp] * (1000.0 / distance_mm) ** 2
    return float(per_mm2 * photons.sum() * mas * area_mm2)


def _within(energies: NDArray[np.float64], limits: Sequence[float]) -> NDArray[np.bool_]:
    """Which energies lie within the limits."""
    if isinstance(limits, str) or len(limits) != 2 or not 0 < limits[0] < limits[1]:
        raise CtmarError(f"energies_kev must be (lowest, highest) in keV, got {limits!r}")
    inside = (energies >= limits[0]) & (energies <= limits[1])
    if not inside.any():
        raise CtmarError(f"energies_kev must hold some of {energies[0]:g}-{energies[-1]:g}, got {limits!r}")
    return np.asarray(inside)


@lru_cache(maxsize=1)
def _tungsten() -> tuple[NDArray[np.float64], dict[int, NDArray[np.float64]], dict[int, float]]:
    """``tungsten.csv``: energies, photons a bin by tube potential, and photons a mm² and mAs at 1 m."""
    text = resources.files("ctmar.physics").joinpath("tungsten.csv").read_text(encoding="utf-8")
    lines = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    kvps = [int(name.removeprefix("kvp_")) for name in lines[0][1:]]
    per_mas = dict(zip(kvps, map(float, lines[1][1:]), strict=True))
    values = np.array([[float(x) for x in line] for line in lines[2:]])
    return values[:, 0], {kvp: values[:, n + 1] for n, kvp in enumerate(kvps)}, per_mas
