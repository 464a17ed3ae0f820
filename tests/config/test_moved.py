"""Old keys: on a command line, in a checkpoint's config, in a data set's manifest."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.config import composing, moved
from ctmar.config.build import make
from ctmar.config.cases import MANIFEST, SCHEMA, case_settings, read_manifest, require_settings
from ctmar.config.composing import composed, plain
from ctmar.config.moved import MOVED, renamed, upgraded
from ctmar.config.trust import config_of
from ctmar.errors import CtmarError
from ctmar.jobs import cli

CLINICAL: dict[str, Any] = {
    "_target_": "ctmar.physics.Scanner",
    "kvp": 120,
    "filtration_mm": {"Cu": 0.2},
    "energies_kev": None,
    "bowtie": {
        "material": "Al",
        "profile_mm": [[0, 0.5], [50, 1.5], [100, 5], [150, 11], [200, 18], [250, 24]],
    },
    "detector": "integrating",
    "reference_kev": 70.0,
    "photons_per_ray": 1000000.0,
    "electronic_noise": 5.0,
    "min_counts": 1.0,
    "saturation": 1200000.0,
    "current_modulation": 0.5,
    "scatter_to_primary": 0.1,
    "scatter_fwhm_mm": 120.0,
    "scatter_correction": 0.85,
    "scatter_photons": 0.0,
    "focal_spot_mm": 0.5,
    "detector_blur_mm": 0.5,
    "slice_profile": [0.15, 0.7, 0.15],
    "water_precorrection": True,
    "water_degree": 8,
    "water_largest_mm": 600.0,
    "water_straight": True,
    "measures_metal": True,
    "metal_replaces_tissue": True,
    "materials": None,
    "oversampling": 2,
    "trace_epsilon_mm": 0.1,
    "trace_dilation": 1,
    "shrink": 1.0,
}
"""``scanner=clinical`` as a flat node, which versions before the nested one wrote."""


def today(*overrides: str) -> DictConfig:
    return composed(
        "train", ["geometry=tiny", "anatomy=procedural_small", "paths.output_dir=out", *overrides]
    )


def test_every_key_has_moved_to_one_of_today() -> None:
    cfg = OmegaConf.to_container(today("model=cgan"))
    for old, new in MOVED.items():
        assert old not in MOVED.values()
        # A key may have become a node of its own name.
        for key, there in ((old, new.startswith(f"{old}.")), (new, True)):
            *above, name = key.split(".")
            node: Any = cfg
            for part in above:
                node = node[part]
            assert (name in node) is there, key


@pytest.mark.parametrize(
    "override,expected",
    [
        ("scanner.kvp=80", "scanner.tube.kvp=80"),
        ("scanner.kvp = 80", "scanner.tube.kvp = 80"),
        ("+scanner.kvp=80", "+scanner.tube.kvp=80"),
        ("++scanner.photons_per_ray=2e5", "++scanner.noise.photons_per_ray=2e5"),
        ("~scanner.bowtie", "~scanner.tube.bowtie"),
        ("scanner.photons_per_ray=1e5,2e5", "scanner.noise.photons_per_ray=1e5,2e5"),
        ("scanner.filtration_mm.Ti-6Al-4V=0.1", "scanner.tube.filtration_mm.Ti-6Al-4V=0.1"),
        ("scanner.bowtie={material:Al,a=b:1}", "scanner.tube.bowtie={material:Al,a=b:1}"),
    ],
)
def test_an_old_key_becomes_todays_with_whatever_stands_around_it(override: str, expected: str) -> None:
    assert renamed([override]) == [expected]


@pytest.mark.parametrize(
    "override",
    ["scanner=low_dose", "scanner.tube.kvp=80", "scanner.reference_kev=60", "seed=0", "-m", "--cfg", "job",
     "--config-dir=scanner.kvp", "scanner.kvps=80", "myscanner.kvp=80", "a.scanner.kvp=1",
     "tags=[scanner.kvp]", "task_name='scanner.kvp=80'", "geometry/acquisition=clinical",
     "model@other=unet", ""],
)  # fmt: skip
def test_what_is_no_old_key_stays_as_it_is(override: str) -> None:
    assert renamed([override]) == [override]


def test_scripts_compose_by_old_keys() -> None:
    old = today("scanner.kvp=80", "scanner.scatter_to_primary=0.1", "++scanner.photons_per_ray=2e5")
    new = today("scanner.tube.kvp=80", "scanner.scatter.to_primary=0.1", "scanner.noise.photons_per_ray=2e5")
    assert old == new and old != today()
    assert make(old.scanner).readout.scatter.to_primary == 0.1
    for scanner in ("ideal", "syndeeplesion"):  # in which nothing scatters
        scattering = today(f"scanner={scanner}", "scanner.scatter_to_primary=0.1")
        assert make(scattering.scanner).readout.scatter.to_primary == 0.1


def test_a_method_that_reads_the_dose_follows_it() -> None:
    cfg = today("model=mbhc", "scanner.photons_per_ray=3e5", "scanner.electronic_noise=7")
    assert cfg.model.photons_per_ray == 3e5 and cfg.model.electronic_noise == 7
    assert today("model=mbhc", "scanner.photons_per_ray=null").model.photons_per_ray is None


def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> list[tuple[Any, list[str]]]:
    """Config and overrides of each job that a command line starts."""
    started: list[tuple[Any, list[str]]] = []
    monkeypatch.setattr(cli, "_job", lambda name: lambda cfg, given: started.append((plain(cfg), given)))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, f"paths.outputs={tmp_path}/outputs"])
    assert cli.main("train") == 0
    return started


def test_a_command_line_and_its_sweep_take_old_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((cfg, given),) = jobs(monkeypatch, tmp_path, "scanner.kvp=80", "~scanner.filtration_mm.Cu")
    assert cfg["scanner"]["tube"]["kvp"] == 80 and cfg["scanner"]["tube"]["filtration_mm"] == {}
    assert "scanner.tube.kvp=80" in given  # what evaluating a checkpoint changes in its config
    swept = jobs(monkeypatch, tmp_path, "-m", "scanner.photons_per_ray=1e5,2e5", "scanner.shrink=2.0")
    assert [cfg["scanner"]["noise"]["photons_per_ray"] for cfg, _ in swept] == [1e5, 2e5]
    assert all(cfg["scanner"]["faults"]["shrink"] == 2.0 for cfg, _ in swept)


def test_a_flat_scanner_becomes_todays_node() -> None:
    cfg = plain(today("scanner=clinical"))
    old = cfg | {"scanner": CLINICAL}
    before = copy.deepcopy(old)
    assert upgraded(old) == cfg
    assert old == before


def test_todays_config_stays_as_it_is() -> None:
    for scanner in ("standard", "syndeeplesion"):
        cfg = plain(today(f"scanner={scanner}"))
        assert upgraded(cfg) == cfg
    assert upgraded({}) == {}


def test_an_older_one_still_lacks_what_it_lacked() -> None:
    """Switches that came later are at the classes' own defaults, which change nothing."""
    old = {"scanner": {"_target_": "ctmar.physics.Scanner", "kvp": 80, "photons_per_ray": None}}
    made = make(OmegaConf.create(upgraded(old)["scanner"]))
    assert made.tube.kvp == 80 and made.readout.noise.photons_per_ray is None
    assert made.readout.scatter is None and made.trace.dilation == 1


def test_keys_of_somebody_elses_class_are_its_own() -> None:
    theirs = {"scanner": {"_target_": "mine.Scanner", "kvp": 80}}
    assert upgraded(theirs) == theirs


def test_a_key_may_become_a_node_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "CHOICES", {})
    monkeypatch.setattr(moved, "MOVED", {"model.network": "model.network.kind"})
    monkeypatch.setattr(moved, "ADDED", {"model.network._target_": "ctmar.networks.UNet"})
    old, new = {"model": {"network": "unet"}}, {"model": {"network": {"kind": "unet"}}}
    new["model"]["network"]["_target_"] = "ctmar.networks.UNet"
    assert upgraded(old) == upgraded(new) == new
    given = ["model.network=unet", "model.network.kind=unet", "model.network.channels=[4]"]
    assert renamed(given) == ["model.network.kind=unet", *given[1:]]


def test_a_checkpoint_of_before_makes_its_scanner() -> None:
    cfg = plain(today("scanner=clinical"))
    assert OmegaConf.to_container(config_of({CONFIG_KEY: cfg | {"scanner": CLINICAL}})) == cfg


def test_a_data_set_of_before_is_of_the_same_case_settings(tmp_path: Path) -> None:
    wanted = case_settings(today("scanner=clinical"), 3)
    about = {"schema": SCHEMA, "dtype": "float32", "shard_cases": 2, "code": "0"}
    for change, same in (({}, True), ({"photons_per_ray": 2.0e5}, False)):
        config = wanted | {"scanner": CLINICAL | change}
        (tmp_path / MANIFEST).write_text(json.dumps(about | {"config": config}), encoding="utf-8")
        manifest = read_manifest(tmp_path)
        assert manifest is not None and manifest["shard_cases"] == 2
        if same:
            require_settings(tmp_path, manifest, wanted)
        else:
            with pytest.raises(CtmarError, match=r"was made by another \(scanner.noise.photons_per_ray: "):
                require_settings(tmp_path, manifest, wanted)


def test_a_manifest_whose_config_is_none_is_refused(tmp_path: Path) -> None:
    about = {"schema": SCHEMA, "dtype": "float32", "shard_cases": 2, "code": "0", "config": "nothing"}
    (tmp_path / MANIFEST).write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(CtmarError, match="must be the manifest of a data set"):
        read_manifest(tmp_path)


def test_a_key_that_chose_by_a_name_chooses_an_option_of_its_group() -> None:
    given = ["model.network=gated", "++model.inputs=[trace]", "model.fill=li", "model.loss=root,squared"]
    assert renamed(given) == [
        "network@model.method.network=gated",
        "++input@model.method.inputs=[trace]",
        "model@model.method.fill=li",
        "loss@model.loss=root,squared",
    ]
    for group in moved.CHOICES.values():
        assert (composing.config_dir() / group.partition("@")[0]).is_dir()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("scanner.kvp", r"^scanner\.kvp is scanner\.tube\.kvp now: a file of your own must set that$"),
        ("model.channels", r"^model\.channels is model\.method\.network\.channels now"),
        ("model.refine", r"^model\.refine is model\.refine\.kind now"),
    ],
)
def test_a_former_key_in_a_file_of_ones_own_is_named(key: str, message: str) -> None:
    cfg = composed("train", ["geometry=tiny"])
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, key, "after" if key == "model.refine" else 80)
    make(composed("train").scanner)
    with pytest.raises(CtmarError, match=message):
        make(cfg[key.partition(".")[0]])
