"""What a command line asks for reaches the config of a checkpoint: all of it, and nothing else."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from ctmar.config.asked import changed
from ctmar.config.composing import composed, plain
from ctmar.jobs.cli import main
from ctmar.jobs.evaluate import RUN_KEYS
from tests.tiny_runs import SMALL_NETWORK, TINY

RUN = [
    "seed=3",
    "data=random",
    "geometry=tiny",
    "anatomy=procedural_small",
    "data.num_cases={train:4,val:2,test:2}",
]


def of_run(*overrides: str) -> DictConfig:
    """The config that a run's checkpoint would carry."""
    return OmegaConf.create(plain(composed("train", [*RUN, "paths.output_dir=run", *overrides])))


def asked(trained: DictConfig, *overrides: str, named: bool = True) -> tuple[dict[str, Any], list[str]]:
    cfg = composed("evaluate", ["paths.output_dir=again", *overrides])
    out, told = changed(cfg, trained, overrides if named else (), "evaluate", RUN_KEYS)
    return plain(out), told


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["by overrides", "by what differs alone"])
def test_an_experiment_reaches_the_config(named: bool) -> None:
    out, told = asked(of_run(), "experiment=thorax", named=named)
    wanted = plain(composed("train", ["experiment=thorax"]))
    assert out["anatomy"] == wanted["anatomy"] and out["geometry"] == wanted["geometry"]
    assert out["data"]["num_cases"] == {"train": 400, "val": 24, "test": 32}
    assert out["data"]["generator"] == plain(of_run())["data"]["generator"] and out["seed"] == 3
    assert "data.num_cases.test: 2 → 32" in told


@pytest.mark.slow
def test_debug_and_sweeps_reach_it_too() -> None:
    trained = of_run("geometry=small")
    assert asked(trained, "debug=fdr")[0]["geometry"]["grid"]["shape"] == [64, 64]
    assert asked(trained, "debug=fdr")[0]["data"]["cache"] is None
    assert asked(trained, "debug=overfit")[0]["data"]["num_cases"] == {"train": 2, "val": 2, "test": 2}
    assert asked(trained, "experiment=lambda_sweep")[0]["model"]["adversary"]["lambda_l2"] == 1000.0


def test_without_wishes_the_config_is_the_runs() -> None:
    trained = of_run("model=cgan", "scanner=low_dose", "model.augment.seed=11", "+data.mine={a:[1,2]}")
    out, told = asked(trained)
    kept = {key: value for key, value in plain(trained).items() if key not in RUN_KEYS}
    assert {key: out[key] for key in kept} == kept and not told


@pytest.mark.slow
def test_what_is_named_counts_though_it_is_the_default() -> None:
    trained = of_run("model.optimizer.clip=0.5")
    out, told = asked(trained, "seed=0", "data=realistic", "model.optimizer.clip=1.0")
    assert out["seed"] == 0 and out["model"]["optimizer"]["clip"] == 1.0
    assert out["data"]["generator"]["_target_"].endswith("RealisticGenerator")
    assert out["data"]["num_cases"]["test"] == 2
    wanted = {
        "data.generator: RandomGenerator → RealisticGenerator",
        "seed: 3 → 0",
        "model.optimizer.clip: 0.5 → 1.0",
    }
    assert set(told) == wanted


@pytest.mark.slow
def test_another_class_leaves_no_arguments_of_the_former() -> None:
    for named in (True, False):
        generator = asked(of_run("data=mixed"), "data=surgery", named=named)[0]["data"]["generator"]
        assert generator == plain(composed("train", ["data=surgery"]))["data"]["generator"]
    trained = of_run("geometry/acquisition=helical")
    assert asked(trained, "geometry/acquisition=parallel")[0]["geometry"]["acquisition"] == {}
    fan = asked(trained, "geometry/acquisition=clinical")[0]["geometry"]["acquisition"]
    assert fan == plain(composed("train", ["geometry/acquisition=clinical"]))["geometry"]["acquisition"]


def test_a_key_of_a_class_that_only_the_run_has_is_set_on_it() -> None:
    out, _ = asked(
        of_run("model=cgan"), "++model.adversary.lambda_l2=7.0", "model.optimizer.learning_rate=0.5"
    )
    assert out["model"]["_target_"].endswith("GAN")
    assert out["model"]["adversary"]["lambda_l2"] == 7.0
    assert out["model"]["optimizer"]["learning_rate"] == 0.5


@pytest.mark.slow
def test_what_followed_a_key_follows_it() -> None:
    assert asked(of_run(), "seed=5")[0]["model"]["augment"]["seed"] == 5
    assert asked(of_run("model.augment.seed=11"), "seed=5")[0]["model"]["augment"]["seed"] == 11
    assert asked(of_run(), "paths.cache_dir=there")[0]["data"]["cache"] == "there"
    assert asked(of_run("data.cache=SET"), "paths.cache_dir=there")[0]["data"]["cache"] == "SET"
    assert asked(of_run(), "projector.filter=hann")[0]["model"]["refine"]["filter"] == "hann"
    named = asked(of_run(), "model.augment.seed=${data.batch_size}", "data.batch_size=9")[0]
    assert named["model"]["augment"]["seed"] == 9


@pytest.mark.slow
def test_what_is_deleted_is_gone() -> None:
    out, told = asked(
        of_run("+data.mine=1"), "~model.freeze", "~data.extended_scale", "~geometry/acquisition"
    )
    assert "freeze" not in out["model"] and "extended_scale" not in out["data"]
    assert "acquisition" not in out["geometry"] and out["data"]["mine"] == 1
    assert "model.freeze: [] → nothing" in told


@pytest.mark.slow
def test_part_of_a_mapping_changes_that_part() -> None:
    out, _ = asked(of_run(), "data.num_cases={test:5}")
    assert out["data"]["num_cases"] == {"train": 4, "val": 2, "test": 5}


EXPERIMENT = """# @package _global_
defaults:
  - override /data: realistic
seed: 0
data: {num_cases: {test: 1}, batch_size: 4}
"""


@pytest.mark.slow
@pytest.mark.parametrize("found_by", ["--config-dir", "hydra.searchpath"])
def test_an_experiment_of_ones_own_is_evaluated(
    found_by: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def called(job: str, folder: str, *overrides: str) -> dict[str, Any]:
        places = [
            f"paths.outputs={tmp_path}",
            f"paths.cache_dir={cache}",
            f"hydra.run.dir={tmp_path / folder}",
        ]
        monkeypatch.setattr(sys, "argv", ["ctmar", *overrides[:2], *places, *overrides[2:]])
        assert main(job) == 0
        summary: dict[str, Any] = json.loads(
            (tmp_path / folder / "evaluation" / "summary.json").read_text(encoding="utf-8")
        )
        return summary

    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(EXPERIMENT, encoding="utf-8")
    small = ["trainer.max_epochs=1", "evaluation.num_panels=0"]
    run = called("train", "run", *TINY, *SMALL_NETWORK, *small, "data=random", "seed=3")
    best = f"ckpt_path={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    how = ["--config-dir", f"{tmp_path}/own"] if found_by == "--config-dir" else [
        f"hydra.searchpath=[file://{tmp_path}/own]", "task_name=other"
    ]  # fmt: skip
    light = ["evaluation.num_panels=0", "evaluation.lesions=false"]
    mine = called("evaluate", "mine", *how, best, *light, "experiment=mine")
    named = ["seed=0", "data=realistic", "data.num_cases.test=1"]
    same = called("evaluate", "same", best, *light, *named)
    assert mine == same and mine["num_cases"] == 1
    assert mine["methods"]["uncorrected"] != run["methods"]["uncorrected"]
    assert called("evaluate", "again", best, *light) == run
    # A value of the experiment that is the default's is asked for as well.
    assert "data.batch_size: 2 → 4" in capfd.readouterr().err
