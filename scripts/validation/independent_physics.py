"""A CT simulation that shares nothing with the scanner but the spectrum's table.

Attenuation straight from xraydb and the compositions written here, chords of disks in closed form, sums over
energies in float64: what ``scripts/benchmark_physics.py`` and the tests hold the scanner to.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import torch
import xraydb
from numpy.typing import NDArray

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.units import mu_to_hu

Disk = tuple[float, float, float]
"""x, y and radius in mm."""
WATER: Disk = (0.0, 0.0, 150.0)
COMPOSITIONS = {
    "water": ({"H": 0.1119, "O": 0.8881}, 1.0),
    "bone": (
        {"H": 3.4, "C": 15.5, "N": 4.2, "O": 43.5, "Na": 0.1, "Mg": 0.2, "P": 10.3, "S": 0.3, "Ca": 22.5},
        1.92,
    ),
    "adipose": ({"H": 11.4, "C": 59.8, "N": 0.7, "O": 27.8, "Na": 0.1, "S": 0.1, "Cl": 0.1}, 0.95),
    "muscle": (
        {"H": 10.2, "C": 14.3, "N": 3.4, "O": 71.0, "Na": 0.1, "P": 0.2, "S": 0.3, "Cl": 0.1, "K": 0.4},
        1.05,
    ),
    "Ti-6Al-4V": ({"Ti": 90.0, "Al": 6.0, "V": 4.0}, 4.43),
    "Cu": ({"Cu": 1.0}, 8.96),
}


def mu(name: str, energies_kev: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Attenuation in 1/mm from the composition written here."""
    shares, density = COMPOSITIONS[name]
    energies = np.asarray(energies_kev, dtype=np.float64) * 1000
    total = sum(share * xraydb.mu_elam(symbol, energies) for symbol, share in shares.items())
    return np.asarray(total / sum(shares.values()) * density / 10)


def photons_120() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies in keV and shares of the photons of the 120 kV beam behind 0.2 mm of copper."""
    text = resources.files("ctmar.physics").joinpath("tungsten.csv").read_text(encoding="utf-8")
    lines = [line.split(",") for line in text.splitlines() if line[0].isalnum()]
    column = lines[0].index("kvp_120")
    numbers = np.array([[float(line[0]), float(line[column])] for line in lines[2:]])
    photons = numbers[:, 1] * np.exp(-0.2 * mu("Cu", numbers[:, 0]))
    return numbers[:, 0], photons / photons.sum()


def direct_sum(lengths_mm: dict[str, NDArray[np.float64]], power: int = 1) -> NDArray[np.float64]:
    """``Σ φ(E) E^power exp(-Σ μ L)`` in that of air, for energies summed (power 1) or squared (2)."""
    energies, photons = photons_120()
    exponent = sum(length[..., None] * mu(name, energies) for name, length in lengths_mm.items())
    weights = photons * energies**power
    return np.asarray((np.exp(-exponent) * weights).sum(-1) / weights.sum())


def chord(disk: Disk, theta: NDArray[Any], s: NDArray[Any]) -> NDArray[np.float64]:
    """Length of each ray ``(θ, s)`` within a disk."""
    x, y, radius = disk
    distance = s[None, :] - (x * np.cos(theta) + y * np.sin(theta))[:, None]
    return 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0.0))


def independent_image(disks: Sequence[tuple[Disk, str]], beam: ParallelBeam, grid: ImageGrid) -> torch.Tensor:
    """HU of disks in the water disk, by chords, direct sums and a water correction by table lookup."""
    fine = beam.refine(4)
    s = (np.arange(fine.det_count) - (fine.det_count - 1) / 2) * fine.det_spacing_mm
    lengths = {"water": chord(WATER, beam.theta, s)}
    for disk, name in disks:
        inside = chord(disk, beam.theta, s)
        lengths["water"] = lengths["water"] - inside
        lengths[name] = lengths.get(name, 0.0) + inside
    intensity = np.concatenate(
        [
            direct_sum({name: length[n : n + 20] for name, length in lengths.items()})
            for n in range(0, 720, 20)
        ]
    )
    measured = -np.log(intensity.reshape(beam.num_angles, beam.det_count, 4).mean(-1))
    depth = np.linspace(0, 900, 9001)
    table = -np.log(np.array(direct_sum({"water": depth})))
    at_reference = mu("water", [70.0])[0]
    corrected = torch.from_numpy(np.interp(measured, table, depth * at_reference)).float()
    return mu_to_hu(RayTransform(grid, beam).fbp(corrected), float(at_reference))
