"""The presets' numbers, as published; faults under the published names alone."""

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ctmar.config.build import make
from ctmar.config.cases import case_store
from ctmar.physics import Scanner
from ctmar.physics.scanner import PARTS

CONFIGS = Path(__file__).parents[2] / "configs"
PUBLISHED = ("cnnmar", "adn", "syndeeplesion")
OURS = ("ideal", "standard", "clinical", "low_dose", "counting", "aapm", "ghani_karl")


def preset(name: str) -> dict:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=[f"scanner={name}", "paths.output_dir=out"])
    return OmegaConf.to_container(cfg.scanner, resolve=True)  # type: ignore[return-value]


def test_every_preset_is_listed_here() -> None:
    files = {file.stem for file in (CONFIGS / "scanner").glob("*.yaml")} - {"base"}
    assert files == {*PUBLISHED, *OURS}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_chain_has_its_numbers_and_its_faults(name: str) -> None:
    cfg = preset(name)
    tube, noise, faults = cfg["tube"], cfg["noise"], cfg["faults"]
    assert tube["energies_kev"] == [20, 120] and tube["kvp"] == 120 and tube["detector"] == "counting"
    assert noise["photons_per_ray"] == 2e7 and faults["scatter_photons"] == 20 and noise["min_counts"] == 1
    water = cfg["water"]
    assert (water["degree"], water["largest_mm"], water["straight"]) == (3, 500, False)
    assert cfg["materials"]["gold"] == {"formula": "Au", "density_g_cm3": 2.0}
    assert not faults["metal_replaces_tissue"]
    assert cfg["trace"]["dilation"] == 0 and cfg["optics"]["oversampling"] == 1
    assert faults["shrink"] == (1.0 if name == "cnnmar" else pytest.approx(400 / 153.6, abs=1e-4))
    text = (CONFIGS / "scanner" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "fault" in text.lower()


@pytest.mark.parametrize("name", OURS)
def test_no_other_preset_has_a_fault(name: str) -> None:
    cfg = preset(name)
    faults = {"metal_replaces_tissue": True, "shrink": 1.0, "scatter_photons": 0}
    assert cfg["faults"] == faults | {"_target_": "ctmar.physics.Faults"}
    assert cfg["materials"] is None and cfg["optics"]["oversampling"] >= 2 and cfg["water"]["straight"]


def test_the_standard_scan_is_what_cases_were_made_with() -> None:
    cfg = preset("standard")
    tube, noise = cfg["tube"], cfg["noise"]
    assert tube["kvp"] == 120 and tube["filtration_mm"] == {"Cu": 0.2} and tube["detector"] == "integrating"
    assert noise["photons_per_ray"] == 1e6 and noise["electronic_noise"] == 5
    assert cfg["trace"]["epsilon_mm"] == 0.1
    assert preset("low_dose") == cfg | {"noise": noise | {"photons_per_ray": 1e5}}


CHANGES = {
    "tube.kvp": "100",
    "tube.filtration_mm": "{Cu:0.3}",
    "tube.energies_kev": "[30,120]",
    "tube.bowtie": "{material:Al,profile_mm:[[0,1],[100,5]]}",
    "tube.detector": "counting",
    "reference_kev": "60.0",
    "noise.photons_per_ray": "1.0e4",
    "noise.electronic_noise": "9.0",
    "noise.min_counts": "2.0",
    "noise.saturation": "1.0e6",
    "noise.current_modulation": "0.5",
    "scatter.to_primary": "0.1",
    "scatter.fwhm_mm": "50.0",
    "scatter.correction": "0.5",
    "faults.scatter_photons": "20",
    "optics.focal_spot_mm": "0.5",
    "optics.detector_blur_mm": "0.5",
    "optics.slice_profile": "[1,2,1]",
    "water.precorrection": "false",
    "water.degree": "3",
    "water.largest_mm": "500.0",
    "water.straight": "false",
    "trace.measures_metal": "false",
    "faults.metal_replaces_tissue": "false",
    "materials": "{NiTi:{formula:NiTi,density_g_cm3:6.45}}",
    "optics.oversampling": "3",
    "trace.epsilon_mm": "0.2",
    "trace.dilation": "2",
    "faults.shrink": "2.0",
    "before_log": "[{_target_: test_effects.Crosstalk}]",
    "after_log": "[{_target_: test_effects.Offset}]",
}


def switches(node: dict, at: str = "") -> set[str]:
    """Dotted keys of all that can be set: a part's own in place of the part."""
    keys: set[str] = set()
    for name, value in node.items():
        part = isinstance(value, dict) and "_target_" in value
        keys |= switches(value, f"{at}{name}.") if part else {f"{at}{name}"} - {f"{at}_target_"}
    return keys


def parameters(kind: type, at: str = "") -> set[str]:
    """The same of what takes them."""
    keys: set[str] = set()
    for name, parameter in inspect.signature(kind).parameters.items():
        part = next((p for p in PARTS if parameter.annotation is p), None)
        keys |= parameters(part, f"{name}.") if part else {f"{at}{name}"}
    return keys


@pytest.mark.slow
def test_every_switch_is_in_the_config_makes_a_scanner_and_decides_the_case() -> None:
    base = preset("standard")
    assert switches(base) == set(CHANGES) == parameters(Scanner)
    names = set()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for change in ("seed=0", *(f"scanner.{key}={value}" for key, value in CHANGES.items())):
            cfg = compose("train", overrides=[change, "paths.output_dir=out"])
            assert isinstance(make(cfg.scanner), Scanner)
            names.add(case_store(cfg, 3).folder)
    assert len(names) == len(CHANGES) + 1


@pytest.mark.parametrize("kind", [Scanner, *PARTS])
def test_no_part_takes_more_than_a_dozen_settings(kind: type) -> None:
    assert len(inspect.signature(kind).parameters) <= 12


def test_a_metal_of_ones_own_goes_through_to_the_sinogram() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[
                "scanner.materials={Ti-6Al-4V:{formula:NiTi,density_g_cm3:6.45}}",
                "paths.output_dir=out",
            ],
        )
    own = make(cfg.scanner).materials["Ti-6Al-4V"]
    assert dict(own.mass_fractions)["Ni"] > 0.5 and own.density_g_cm3 == 6.45
