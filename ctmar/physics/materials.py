"""Attenuation of the materials in a scene.

Mass attenuation comes from the Elam tables through ``xraydb`` (Elam, Ravel & Sieber, Radiat. Phys.
Chem. 63:121, 2002; public domain). Densities and compositions: water; ICRU-44 cortical bone; the
alloys at the nominal composition of their standards (ASTM F136, F1537, F138).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError


@dataclass(frozen=True)
class Material:
    """A mixture of elements.

    Attributes:
        mass_fractions: Element symbols and their share of the mass; they sum to 1.
        density_g_cm3: Density.
    """

    mass_fractions: tuple[tuple[str, float], ...]
    density_g_cm3: float


MATERIALS: dict[str, Material] = {
    "water": Material((("H", 0.1119), ("O", 0.8881)), 1.0),
    "bone": Material(
        (
            ("H", 0.034),
            ("C", 0.155),
            ("N", 0.042),
            ("O", 0.435),
            ("Na", 0.001),
            ("Mg", 0.002),
            ("P", 0.103),
            ("S", 0.003),
            ("Ca", 0.225),
        ),
        1.92,
    ),
    "Al": Material((("Al", 1.0),), 2.699),
    "Cu": Material((("Cu", 1.0),), 8.96),
    "Ti-6Al-4V": Material((("Ti", 0.90), ("Al", 0.06), ("V", 0.04)), 4.43),
    "CoCrMo": Material((("Co", 0.66), ("Cr", 0.28), ("Mo", 0.06)), 8.3),
    "316L": Material(
        (("Fe", 0.655), ("Cr", 0.17), ("Ni", 0.12), ("Mo", 0.025), ("Mn", 0.02), ("Si", 0.01)), 8.0
    ),
}

METALS = ("Ti-6Al-4V", "CoCrMo", "316L")
"""Alloys of spinal hardware."""


@lru_cache(maxsize=64)
def _attenuation(name: str, energies_kev: tuple[float, ...]) -> NDArray[np.float64]:
    import xraydb

    material = MATERIALS[name]
    energies_ev = np.asarray(energies_kev) * 1000.0
    per_mass = sum(share * xraydb.mu_elam(element, energies_ev) for element, share in material.mass_fractions)
    return np.asarray(per_mass) * material.density_g_cm3 / 10.0


def attenuation(name: str, energies_kev: NDArray[np.float64] | list[float]) -> NDArray[np.float64]:
    """Linear attenuation in 1/mm of the material at its own density, one value an energy."""
    if name not in MATERIALS:
        raise CtmarError(f"material must be one of {', '.join(MATERIALS)}, got {name!r}")
    return _attenuation(name, tuple(float(e) for e in energies_kev))


BONE_RAMP_HU = (100.0, 1500.0)
"""Below the first all is water, above the second all is bone, between them a linear blend; the
decomposition of CNN-MAR (Zhang & Yu, IEEE TMI 37:1370, 2018) and the protocols after it."""


def tissue_fractions(hu: NDArray[np.float32], reference_kev: float) -> tuple[NDArray, NDArray]:
    """Water and cortical bone, as shares of their nominal densities, that stand for a CT number.

    The two attenuate together as ``(1 + HU/1000) μ_water`` at ``reference_kev``, so that the mixture
    is exact there at every HU; air holds neither.

    Args:
        hu: CT numbers, at least -1000.
        reference_kev: Energy at which the CT number is defined.

    Returns:
        Two float32 arrays of the shape of ``hu``.
    """
    low, high = BONE_RAMP_HU
    share = np.clip((hu - low) / (high - low), 0.0, 1.0)
    total = np.maximum(hu / 1000.0 + 1.0, 0.0)
    water_mu = attenuation("water", [reference_kev])[0]
    bone_mu = attenuation("bone", [reference_kev])[0]
    water = ((1.0 - share) * total).astype(np.float32)
    bone = (share * total * (water_mu / bone_mu)).astype(np.float32)
    return water, bone
