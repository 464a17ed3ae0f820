"""Attenuation of the materials in a scene.

Mass attenuation comes from the Elam tables through ``xraydb`` (Elam, Ravel & Sieber, Radiat. Phys.
Chem. 63:121, 2002): plain Python with its tables inside, 11 MB, wheels for every platform, where
``xraylib`` is a compiled library; coherent scattering is part of the total, as in a narrow beam.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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

    @staticmethod
    def of(formula: str, density_g_cm3: float) -> "Material":
        """A compound by its chemical formula, such as ``NiTi`` or ``C19H12O3``.

        Raises:
            CtmarError: If the formula cannot be read or the density is not positive.
        """
        import xraydb

        _require_density(density_g_cm3)
        try:
            parsed = xraydb.chemparse(str(formula))
            masses = {symbol: count * xraydb.atomic_mass(symbol) for symbol, count in parsed.items()}
        except (ValueError, KeyError) as error:
            raise CtmarError(f"formula must be a chemical formula such as NiTi, got {formula!r}") from error
        total = sum(masses.values())
        if not total > 0:
            raise CtmarError(f"formula must be a chemical formula such as NiTi, got {formula!r}")
        return Material(
            tuple((symbol, mass / total) for symbol, mass in masses.items()), float(density_g_cm3)
        )

    @staticmethod
    def alloy(mass_fractions: Mapping[str, float], density_g_cm3: float) -> "Material":
        """A mixture of elements by their shares of the mass, or per cent; rounding in them is evened out.

        Raises:
            CtmarError: An unknown element, a share that is not positive, or shares that do not sum to 1 or
                100 within 2 %.
        """
        import xraydb

        if not isinstance(mass_fractions, Mapping):
            raise CtmarError(f"mass_fractions must be {{element: share}}, got {mass_fractions!r}")
        shares = dict(mass_fractions)
        for symbol, share in shares.items():
            if not (isinstance(share, (int, float)) and 0 < share < math.inf):
                raise CtmarError(f"mass_fractions.{symbol} must be a positive number, got {share!r}")
            try:
                xraydb.atomic_number(str(symbol))
            except ValueError as error:
                raise CtmarError(f"mass_fractions must name elements such as Ti, got {symbol!r}") from error
        total = float(sum(shares.values()))
        if not any(abs(total - whole) <= 0.02 * whole for whole in (1.0, 100.0)):
            raise CtmarError(f"mass_fractions must sum to 1 (or 100), got {total:g}")
        _require_density(density_g_cm3)
        return Material(tuple((str(s), share / total) for s, share in shares.items()), float(density_g_cm3))

    @staticmethod
    def mixture(*parts: tuple["Material", float]) -> "Material":
        """Materials and their shares of the mass, their volumes added."""
        shares: dict[str, float] = {}
        for material, part in parts:
            for symbol, share in material.mass_fractions:
                shares[symbol] = shares.get(symbol, 0.0) + part * share
        volume = sum(part / material.density_g_cm3 for material, part in parts)
        return Material(tuple(shares.items()), 1.0 / volume)


def _require_density(density_g_cm3: float) -> None:
    if not (isinstance(density_g_cm3, (int, float)) and 0 < density_g_cm3 < math.inf):
        raise CtmarError(f"density_g_cm3 must be a positive number, got {density_g_cm3!r}")


def _percent(density_g_cm3: float, **shares: float) -> Material:
    """A material from percentages of its mass, as tables print them; rounding there is evened out."""
    total = sum(shares.values())
    return Material(tuple((symbol, share / total) for symbol, share in shares.items()), density_g_cm3)


_PMMA = Material((("H", 0.0805), ("C", 0.5999), ("O", 0.3196)), 1.19)
_BASO4 = Material((("O", 0.2742), ("S", 0.1374), ("Ba", 0.5884)), 4.5)

# ICRU Report 44 (1989), as tabulated by NIST (Hubbell & Seltzer, NISTIR 5632, table 2); trabecular bone is
# the adult spongiosa of ICRU Report 46 (1992), appendix A.
_TISSUES = {
    "water": Material((("H", 0.1119), ("O", 0.8881)), 1.0),
    "bone": _percent(1.92, H=3.4, C=15.5, N=4.2, O=43.5, Na=0.1, Mg=0.2, P=10.3, S=0.3, Ca=22.5),
    "trabecular bone": _percent(
        1.18, H=8.5, C=40.4, N=2.8, O=36.7, Na=0.1, Mg=0.1, P=3.4, S=0.2, Cl=0.2, K=0.1, Ca=7.4, Fe=0.1
    ),
    "soft tissue": _percent(1.06, H=10.2, C=14.3, N=3.4, O=70.8, Na=0.2, P=0.3, S=0.3, Cl=0.2, K=0.3),
    "adipose": _percent(0.95, H=11.4, C=59.8, N=0.7, O=27.8, Na=0.1, S=0.1, Cl=0.1),
    "muscle": _percent(1.05, H=10.2, C=14.3, N=3.4, O=71.0, Na=0.1, P=0.2, S=0.3, Cl=0.1, K=0.4),
    "lung": _percent(0.26, H=10.3, C=10.5, N=3.1, O=74.9, Na=0.2, P=0.2, S=0.3, Cl=0.3, K=0.2),
    "blood": _percent(1.06, H=10.2, C=11.0, N=3.3, O=74.5, Na=0.1, P=0.1, S=0.2, Cl=0.3, K=0.2, Fe=0.1),
}

# Nominal compositions of the standards: ASTM F136, F1537, F138, F560 (tantalum); dental amalgam with half its
# mass mercury (ISO 24234); bone cement for vertebrae with 30 % barium sulphate.
_IMPLANTS = {
    "Ti-6Al-4V": Material((("Ti", 0.90), ("Al", 0.06), ("V", 0.04)), 4.43),
    "CoCrMo": Material((("Co", 0.66), ("Cr", 0.28), ("Mo", 0.06)), 8.3),
    "316L": Material(
        (("Fe", 0.655), ("Cr", 0.17), ("Ni", 0.12), ("Mo", 0.025), ("Mn", 0.02), ("Si", 0.01)), 8.0
    ),
    "titanium": Material((("Ti", 1.0),), 4.51),
    "tantalum": Material((("Ta", 1.0),), 16.65),
    "gold": Material((("Au", 1.0),), 19.3),
    "amalgam": _percent(11.6, Hg=50.0, Ag=34.5, Sn=13.0, Cu=2.0, Zn=0.5),
    "PEEK": Material((("H", 0.0420), ("C", 0.7916), ("O", 0.1665)), 1.30),
    "PMMA": _PMMA,
    "cement": Material.mixture((_PMMA, 0.7), (_BASO4, 0.3)),
    "BaSO4": _BASO4,
}

_FILTERS = {
    "Al": Material((("Al", 1.0),), 2.699),
    "Cu": Material((("Cu", 1.0),), 8.96),
    "Sn": Material((("Sn", 1.0),), 7.31),
    "graphite": Material((("C", 1.0),), 1.7),
    "PTFE": Material((("C", 0.2402), ("F", 0.7598)), 2.2),
}

MATERIALS: dict[str, Material] = _TISSUES | _IMPLANTS | _FILTERS
"""Materials by name; ``bone`` is cortical."""

METALS = ("Ti-6Al-4V", "CoCrMo", "316L")
"""Alloys of spinal hardware."""


@lru_cache(maxsize=256)
def _attenuation(material: Material, energies_kev: tuple[float, ...]) -> NDArray[np.float64]:
    import xraydb

    energies_ev = np.asarray(energies_kev) * 1000.0
    per_mass = sum(share * xraydb.mu_elam(element, energies_ev) for element, share in material.mass_fractions)
    out = np.asarray(per_mass) * material.density_g_cm3 / 10.0
    out.flags.writeable = False  # shared between all who ask
    return out


def attenuation(
    material: str | Material, energies_kev: NDArray[np.float64] | list[float]
) -> NDArray[np.float64]:
    """Linear attenuation in 1/mm of the material at its own density, one value an energy.

    Args:
        material: A name of :data:`MATERIALS`, or a material of one's own.
        energies_kev: Energies in keV.

    Raises:
        CtmarError: If there is no such material.
    """
    if isinstance(material, str):
        material = named(material, MATERIALS)
    return _attenuation(material, tuple(float(e) for e in energies_kev))


def named(name: str, materials: Mapping[str, Material]) -> Material:
    """The material of that name; an unknown one is an error that lists what there is."""
    if name not in materials:
        raise CtmarError(f"material must be one of {', '.join(materials)}, got {name!r}")
    return materials[name]


def with_own(given: Mapping[str, Any] | None) -> dict[str, Material]:
    """:data:`MATERIALS` and those given by name; they may take a known one.

    Args:
        given: Each a :class:`Material`, or ``density_g_cm3`` and one of ``formula`` and ``mass_fractions``.

    Raises:
        CtmarError: Something else is given; names the material.
    """
    return MATERIALS | {str(name): _own(str(name), one) for name, one in (given or {}).items()}


def _own(name: str, given: Any) -> Material:
    if isinstance(given, Material):
        return given
    keys = set(given) if isinstance(given, Mapping) else set()
    if keys not in ({"formula", "density_g_cm3"}, {"mass_fractions", "density_g_cm3"}):
        raise CtmarError(
            f"material {name} must have density_g_cm3 and either formula or mass_fractions, got {given!r}"
        )
    try:
        if "formula" in keys:
            return Material.of(given["formula"], given["density_g_cm3"])
        return Material.alloy(given["mass_fractions"], given["density_g_cm3"])
    except CtmarError as error:
        raise CtmarError(f"material {name}: {error}") from error


def keyed(name: str, keys: tuple[str, ...], given: Any) -> dict[str, Any]:
    """The mapping of that name, if it has just these keys."""
    if not isinstance(given, Mapping) or set(given) != set(keys):
        raise CtmarError(f"{name} must have the keys {', '.join(keys)}, got {given!r}")
    return dict(given)
