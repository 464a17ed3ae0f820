import numpy as np
import pytest

from ctmar.errors import CtmarError
from ctmar.physics.materials import MATERIALS, METALS, Material, attenuation, with_own
from ctmar.physics.tissue import tissue_fractions

# Figures of the Elam tables as rounded in the literature, 1/cm at 30, 40, 50, 60, 70, 80, 100 and 120 keV.
KEV = [30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 100.0, 120.0]
PUBLISHED = {
    "water": [0.376, 0.268, 0.227, 0.206, 0.193, 0.184, 0.171, 0.161],
    "bone": [2.556, 1.278, 0.815, 0.604, 0.494, 0.428, 0.356, 0.318],
    "Ti-6Al-4V": [21.11, 9.41, 5.175, 3.278, 2.302, 1.747, 1.181, 0.917],
    "CoCrMo": [78.0, 34.9, 18.86, 11.57, 7.79, 5.63, 3.445, 2.443],
    "316L": [68.4, 30.5, 16.46, 10.1, 6.85, 4.98, 3.09, 2.225],
    "gold": [531, 250, 140, 87.4, 58.9, 42.2, 99.6, 62.8],
    "tantalum": [364, 171, 95, 59, 178, 126, 71.6, 44.9],
    "PEEK": [0.365, 0.289, 0.257, 0.240, 0.228, 0.219, 0.205, 0.195],
}
# NIST XCOM totals with coherent scattering (Hubbell & Seltzer, NISTIR 5632, table 4), cm²/g at 60 keV.
NIST_60_KEV = {"adipose": 0.1974, "muscle": 0.2048, "soft tissue": 0.2045, "lung": 0.2053, "PMMA": 0.1924}


@pytest.mark.parametrize("name", PUBLISHED)
def test_attenuation_is_the_published_one_at_every_energy(name: str) -> None:
    np.testing.assert_allclose(attenuation(name, KEV) * 10, PUBLISHED[name], rtol=8e-3)


@pytest.mark.parametrize("name", NIST_60_KEV)
def test_tissues_agree_with_nist(name: str) -> None:
    per_mass = attenuation(name, [60.0])[0] * 10 / MATERIALS[name].density_g_cm3
    assert per_mass == pytest.approx(NIST_60_KEV[name], rel=0.01)


def test_every_material_is_a_whole() -> None:
    for name, material in MATERIALS.items():
        assert sum(share for _, share in material.mass_fractions) == pytest.approx(1.0, abs=2e-3), name
    assert set(METALS) < set(MATERIALS)


def test_a_formula_makes_the_material_that_is_listed() -> None:
    for name, formula in (("PEEK", "C19H12O3"), ("PMMA", "C5H8O2"), ("BaSO4", "BaSO4"), ("PTFE", "C2F4")):
        made = Material.of(formula, MATERIALS[name].density_g_cm3)
        np.testing.assert_allclose(attenuation(made, KEV), attenuation(name, KEV), rtol=5e-3)
    nitinol = Material.of("NiTi", 6.45)
    assert dict(nitinol.mass_fractions)["Ni"] == pytest.approx(0.5508, abs=1e-3)


def test_mass_fractions_make_the_alloy_that_is_listed() -> None:
    for shares in ({"Ti": 0.90, "Al": 0.06, "V": 0.04}, {"Ti": 89.5, "Al": 6.2, "V": 4.0}):
        made = Material.alloy(shares, 4.43)
        assert sum(share for _, share in made.mass_fractions) == pytest.approx(1.0)
        np.testing.assert_allclose(attenuation(made, KEV), attenuation("Ti-6Al-4V", KEV), rtol=5e-3)


@pytest.mark.parametrize(
    "shares,density,message",
    [
        ({"Ti": 0.5}, 4.4, r"mass_fractions must sum to 1 \(or 100\), got 0.5"),
        ({"Ti": 0.5, "Qq": 0.5}, 4.4, "mass_fractions must name elements such as Ti, got 'Qq'"),
        ({"Ti": 1.1, "Al": -0.1}, 4.4, "mass_fractions.Al must be a positive number, got -0.1"),
        ({"Ti": 1.0}, 0.0, "density_g_cm3 must be a positive number, got 0.0"),
        ("Ti", 4.4, "mass_fractions must be {element: share}, got 'Ti'"),
    ],
)
def test_shares_that_make_no_alloy_are_refused(shares: dict, density: float, message: str) -> None:
    with pytest.raises(CtmarError, match=message):
        Material.alloy(shares, density)
    with pytest.raises(CtmarError, match=f"material mine: {message}"):
        with_own({"mine": {"mass_fractions": shares, "density_g_cm3": density}})


def test_two_of_one_name_stay_apart() -> None:
    light, heavy = (with_own({"mine": {"formula": "Ti", "density_g_cm3": d}}) for d in (4.5, 9.0))
    np.testing.assert_allclose(
        2 * attenuation(light["mine"], KEV), attenuation(heavy["mine"], KEV), rtol=1e-12
    )
    assert "mine" not in MATERIALS and with_own({"mine": light["mine"]}) == light


def test_a_mixture_adds_volumes() -> None:
    cement = MATERIALS["cement"]
    assert cement.density_g_cm3 == pytest.approx(1 / (0.7 / 1.19 + 0.3 / 4.5))
    volume = 0.3 / 4.5 * cement.density_g_cm3
    expected = volume * attenuation("BaSO4", KEV) + (1 - volume) * attenuation("PMMA", KEV)
    np.testing.assert_allclose(attenuation(cement, KEV), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "formula,density", [("", 1.0), ("Xx2", 1.0), ("12", 1.0), ("NiTi", 0.0), ("NiTi", "6")]
)
def test_what_is_no_material_is_refused(formula: str, density: float) -> None:
    with pytest.raises(CtmarError, match="must be a"):
        Material.of(formula, density)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(CtmarError, match="material must be one of water, bone, .*, got 'unobtainium'"):
        attenuation("unobtainium", [70.0])


def test_tissue_is_exact_at_the_reference_energy() -> None:
    hu = np.array([-1000, -850, -100, 0, 60, 300, 1200, 3000], dtype=np.float32)
    for kev in (60.0, 70.0):
        water, bone = tissue_fractions(hu, kev)
        mu = water * attenuation("water", [kev])[0] + bone * attenuation("bone", [kev])[0]
        np.testing.assert_allclose(mu, (1 + hu / 1000) * attenuation("water", [kev])[0], rtol=1e-6)
        assert water[3] == 1.0 and bone[3] == 0.0 and water[0] == 0.0 and water[-1] == 0.0
