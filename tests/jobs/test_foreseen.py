"""What a run does with its folders, its loggers and callbacks, before anything is simulated."""

import sys
from pathlib import Path

import pytest
import yaml
from pytorch_lightning import Callback

from ctmar.jobs.cli import main
from tests.children import run
from tests.jobs.building import answer
from tests.tiny_runs import SMALL_NETWORK, TINY

ROOT = Path(__file__).parents[2]


class Own(Callback):
    """A callback of a user's."""


def train(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return main("train")


def test_a_folder_of_the_users_outlives_a_run_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, named = tmp_path / "theirs", tmp_path / "named"
    theirs.mkdir(), named.mkdir()
    monkeypatch.chdir(theirs)
    for place in (".", str(named), str(tmp_path / "new")):
        bad = [*TINY, f"hydra.run.dir={place}", "data.num_cases.train=0"]
        assert train(monkeypatch, *bad) == 2 and "num_cases.train must be" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named", "theirs"]
    assert not any(theirs.iterdir()) and not any(named.iterdir())


@pytest.mark.parametrize("key", ["paths.outputs", "paths.root", "hydra.run.dir", "hydra.sweep.dir"])
def test_an_empty_folder_is_not_the_root(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for empty in ("", "''", '""'):
        assert train(monkeypatch, *TINY, f"{key}={empty}") == 2
        assert capsys.readouterr().err == f"error: {key} must name a folder, got nothing\n"


def test_figures_that_a_model_logs_may_be_watched(tmp_path: Path) -> None:
    watched = "callbacks.early_stopping.monitor=train/loss_adversarial"
    assert "must watch one of" in (answer(tmp_path, watched) or "")
    assert answer(tmp_path, "model=cgan", watched) is None
    assert (
        answer(tmp_path, "model.refine.kind=joint", "callbacks.checkpoint.monitor=val/rmse_image_hu") is None
    )
    # One of the user's may log what it likes.
    own = "+callbacks.own._target_=tests.jobs.test_foreseen.Own"
    assert answer(tmp_path, own, "callbacks.early_stopping.monitor=val/mine") is None


def test_two_networks_take_what_means_nothing(tmp_path: Path) -> None:
    assert answer(tmp_path, "model=cgan", "+trainer.accumulate_grad_batches=1") is None
    assert answer(tmp_path, "+trainer.accumulate_grad_batches=2", "+trainer.gradient_clip_val=1") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["~logger"],
        ["logger=[]", "callbacks=[]"],
        [
            "+trainer.limit_val_batches=0",
            "callbacks.checkpoint.monitor=null",
            "callbacks.early_stopping=null",
        ],
    ],
    ids=lambda overrides: overrides[0],
)
def test_what_is_left_out_is_not_needed(overrides: list[str], tmp_path: Path) -> None:
    places = [f"paths.outputs={tmp_path}", f"hydra.run.dir={tmp_path}/run"]
    once = ["trainer.max_epochs=1", "evaluation.num_panels=0"]
    job = [sys.executable, str(ROOT / "train.py"), *TINY, *SMALL_NETWORK, *places, *once, *overrides]
    done = run(job, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nmar" in done.stdout


def test_an_agent_of_wandbs_calls_what_the_page_says(tmp_path: Path) -> None:
    sweeps = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    text = (ROOT / "docs" / "tutorials" / "wandb-sweep.yaml").read_text(encoding="utf-8")
    sweep = yaml.safe_load(text)
    told = sweep["parameters"].items()
    last = {name: {"value": (each.get("values") or [each.get("value")])[-1]} for name, each in told}
    last["model.optimizer.learning_rate"] = {"value": 1e-3}
    words = sweeps.create_sweep_command_args({"args": last})["args_no_hyphens"]
    command = sweeps.create_sweep_command(list(sweep["command"]))
    assert command[1:] == ["ctmar", "train", "${args_no_hyphens}"]
    assert answer(tmp_path, *words) is None
    assert "model.method.network.channels=[32,64,128,256]" in words and "logger.wandb.offline=False" in words
