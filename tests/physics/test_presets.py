"""The presets' numbers, as published; faults under the published names alone."""

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ctmar.physics import Scanner
from ctmar.runs.build import case_store, make

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
    assert cfg["energies_kev"] == [20, 120] and cfg["kvp"] == 120 and cfg["detector"] == "counting"
    assert cfg["photons_per_ray"] == 2e7 and cfg["scatter_photons"] == 20 and cfg["min_counts"] == 1
    assert (cfg["water_degree"], cfg["water_largest_mm"], cfg["water_straight"]) == (3, 500, False)
    assert cfg["materials"]["gold"] == {"formula": "Au", "density_g_cm3": 2.0}
    assert not cfg["metal_replaces_tissue"] and cfg["trace_dilation"] == 0 and cfg["oversampling"] == 1
    assert cfg["shrink"] == (1.0 if name == "cnnmar" else pytest.approx(400 / 153.6, abs=1e-4))
    text = (CONFIGS / "scanner" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "fault" in text.lower()


@pytest.mark.parametrize("name", OURS)
def test_no_other_preset_has_a_fault(name: str) -> None:
    cfg = preset(name)
    assert cfg["metal_replaces_tissue"] and cfg["shrink"] == 1.0 and cfg["scatter_photons"] == 0
    assert cfg["materials"] is None and cfg["oversampling"] >= 2 and cfg["water_straight"]


def test_the_standard_scan_is_what_cases_were_made_with() -> None:
    cfg = preset("standard")
    assert cfg["kvp"] == 120 and cfg["filtration_mm"] == {"Cu": 0.2} and cfg["detector"] == "integrating"
    assert cfg["photons_per_ray"] == 1e6 and cfg["electronic_noise"] == 5 and cfg["trace_epsilon_mm"] == 0.1
    assert preset("low_dose") == cfg | {"photons_per_ray": 1e5}


CHANGES = {
    "kvp": "100",
    "filtration_mm": "{Cu:0.3}",
    "energies_kev": "[30,120]",
    "bowtie": "{material:Al,profile_mm:[[0,1],[100,5]]}",
    "detector": "counting",
    "reference_kev": "60.0",
    "photons_per_ray": "1.0e4",
    "electronic_noise": "9.0",
    "min_counts": "2.0",
    "saturation": "1.0e6",
    "current_modulation": "0.5",
    "scatter_to_primary": "0.1",
    "scatter_fwhm_mm": "50.0",
    "scatter_correction": "0.5",
    "scatter_photons": "20",
    "focal_spot_mm": "0.5",
    "detector_blur_mm": "0.5",
    "slice_profile": "[1,2,1]",
    "water_precorrection": "false",
    "water_degree": "3",
    "water_largest_mm": "500.0",
    "water_straight": "false",
    "measures_metal": "false",
    "metal_replaces_tissue": "false",
    "materials": "{NiTi:{formula:NiTi,density_g_cm3:6.45}}",
    "oversampling": "3",
    "trace_epsilon_mm": "0.2",
    "trace_dilation": "2",
    "shrink": "2.0",
}


@pytest.mark.slow
def test_every_switch_is_in_the_config_makes_a_scanner_and_decides_the_case() -> None:
    base = preset("standard")
    assert set(base) - {"_target_"} == set(CHANGES) == set(inspect.signature(Scanner).parameters)
    names = set()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for change in ("seed=0", *(f"scanner.{key}={value}" for key, value in CHANGES.items())):
            cfg = compose("train", overrides=[change, "paths.output_dir=out"])
            assert isinstance(make(cfg.scanner), Scanner)
            names.add(case_store(cfg, 3).folder)
    assert len(names) == len(CHANGES) + 1


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
