"""What energies the detector sees: tube spectra after filtration, weighted by its response."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.physics.materials import attenuation

DETECTORS = ("integrating", "counting")


@dataclass(frozen=True)
class Spectrum:
    """Energies in keV and the share of the unattenuated signal that each carries (sum 1)."""

    energies_kev: NDArray[np.float64]
    weights: NDArray[np.float64]

    @staticmethod
    def mono(energy_kev: float) -> "Spectrum":
        """All photons at one energy."""
        if not 10.0 <= energy_kev <= 200.0:
            raise CtmarError(f"energy_kev must be in [10, 200], got {energy_kev!r}")
        return Spectrum(np.array([energy_kev]), np.array([1.0]))

    @staticmethod
    def tube(kvp: int, filtration_mm: dict[str, float], detector: str = "integrating") -> "Spectrum":
        """A tungsten tube behind flat filters.

        Args:
            kvp: Tube potential, one of the table's (70, 80 … 150 kV).
            filtration_mm: Thickness of each filter, added to the table's 3 mm of aluminium.
            detector: ``integrating`` weights photons by their energy, ``counting`` does not.
        """
        energies, table = _tungsten()
        if kvp not in table:
            raise CtmarError(f"kvp must be one of {', '.join(map(str, table))}, got {kvp!r}")
        if detector not in DETECTORS:
            raise CtmarError(f"detector must be one of {', '.join(DETECTORS)}, got {detector!r}")
        weights = table[kvp].copy()
        for material, thickness in filtration_mm.items():
            weights *= np.exp(-attenuation(material, energies) * thickness)
        if detector == "integrating":
            weights *= energies
        # Bins that carry less than a millionth of the signal cost time and change nothing.
        kept = weights > 1e-6 * weights.sum()
        return Spectrum(energies[kept], weights[kept] / weights[kept].sum())


@lru_cache(maxsize=1)
def _tungsten() -> tuple[NDArray[np.float64], dict[int, NDArray[np.float64]]]:
    """The table of ``tungsten.csv``: energies and photons a bin for each tube potential."""
    text = resources.files("ctmar.physics").joinpath("tungsten.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    names = lines[0].split(",")[1:]
    values = np.array([[float(x) for x in line.split(",")] for line in lines[1:]])
    return values[:, 0], {int(name.removeprefix("kvp_")): values[:, n + 1] for n, name in enumerate(names)}
