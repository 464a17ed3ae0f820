"""A run that goes on is the same run: its config, its history, its optimiser; changed by what is asked."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.jobs.cli import main
from tests.tiny_runs import SMALL_NETWORK

SIZE = [
    "geometry=tiny",
    "anatomy=procedural_small",
    "data.num_cases={train:4,val:2,test:2}",
    "data.batch_size=2",
]
OWN = ("paths", "logger", "callbacks", "ckpt_path")
LIGHT = ["data.num_workers=0", "++callbacks.image_panels=null", "extras.progress_bar=false"]
SHORT = [*SIZE, *LIGHT, *SMALL_NETWORK, "test=false", "trainer.max_epochs=2"]
UNUSUAL = ["data=random", "seed=3", "scanner=low_dose", "model.fill=li", "model.learning_rate=0.004"]
STOP = "+callbacks.stop={_target_:tests.jobs.stop_after.StopAfter,epochs:%d}"

Train = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """A job as it is called from the command line, in a folder of ``tmp_path``."""

    def called(
        folder: str, *overrides: str, job: str = "train", status: int = 0, multirun: bool = False
    ) -> Path:
        places = [
            f"paths.outputs={tmp_path}",
            f"paths.cache_dir={cache}",
            f"hydra.run.dir={tmp_path / folder}",
        ]
        monkeypatch.setattr(sys, "argv", ["ctmar", *(["-m"] if multirun else []), *places, *overrides])
        assert main(job) == status
        return tmp_path / folder

    return called


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(last(folder), weights_only=True)
    return found


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = state(folder)[CONFIG_KEY]
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "csv" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same_weights(a: Path, b: Path) -> bool:
    one, other = state(a)["state_dict"], state(b)["state_dict"]
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", ["unet", pytest.param("cgan", marks=pytest.mark.slow)])
def test_with_nothing_but_the_checkpoint_a_run_ends_like_an_unbroken_one(run: Train, model: str) -> None:
    settings = [*SHORT, *UNUSUAL, f"model={model}", "trainer.max_epochs=4"]
    settings += ["+callbacks.ema={_target_:ctmar.callbacks.EMA,decay:0.5}", "++callbacks.early_stopping=null"]
    whole = run("whole", *settings)
    broken = run("broken", *settings, STOP % 2)
    before = rows(broken)
    resumed = run("broken", f"ckpt_path={last(broken)}")
    assert same_weights(whole, resumed) and state(resumed)["epoch"] == 3
    assert rows(resumed)[: len(before)] == before and rows(resumed) == rows(whole)
    kept = {key: value for key, value in config(whole).items() if key not in OWN}
    again = {key: config(resumed)[key] for key in kept}
    kept["trainer"].pop("default_root_dir"), again["trainer"].pop("default_root_dir")
    assert again == kept


@pytest.mark.slow
def test_what_differs_from_the_run_is_named_in_a_line(run: Train, capfd: pytest.CaptureFixture[str]) -> None:
    folder = run("run", *SHORT, *UNUSUAL, STOP % 2)
    capfd.readouterr()
    more = run("more", f"ckpt_path={last(folder)}", "trainer.max_epochs=3", "data=realistic", "seed=0")
    (line,) = [text for text in capfd.readouterr().err.splitlines() if text.startswith("going on")]
    assert f"after epoch 2 of {last(folder)}" in line
    for change in (
        "trainer.max_epochs: 2 → 3",
        "seed: 3 → 0",
        "data.generator: RandomGenerator → RealisticGenerator",
    ):
        assert change in line
    assert "callbacks.stop (tests.jobs.stop_after.StopAfter)" in line
    changed = config(more)
    assert changed["seed"] == 0 and changed["model"]["augment"]["seed"] == 0
    assert changed["data"]["generator"]["_target_"].endswith("RealisticGenerator")
    # The rest is the run's: the number of cases too, which all options of the group have alike.
    assert changed["data"]["num_cases"] == {"train": 4, "val": 2, "test": 2}
    assert (
        changed["scanner"] == config(folder)["scanner"]
        and changed["model"]["method"]["fill"]["_target_"] == "ctmar.methods.li.LI"
    )


@pytest.mark.slow
def test_an_option_leaves_what_is_not_of_its_group(run: Train) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=1", "model.clip=0.5", "data=mixed")
    options = ["trainer=cpu", "model=unet", "data=mixed", "geometry=tiny", "trainer.max_epochs=2"]
    more = config(run("more", f"ckpt_path={last(folder)}", *options))
    assert more["model"]["method"]["network"]["channels"] == [8, 16]
    assert more["model"]["optimizer"]["clip"] == 0.5
    assert more["data"] == config(folder)["data"]
    assert more["trainer"] | {"max_epochs": 1} == config(folder)["trainer"] | {
        "default_root_dir": more["trainer"]["default_root_dir"]
    }


@pytest.mark.slow
def test_another_shape_than_the_checkpoints_is_one_line(
    run: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=1")
    for change in ("model.channels=[4,8]", "model=cgan"):
        capfd.readouterr()
        run("more", f"ckpt_path={last(folder)}", change, status=2)
        said = capfd.readouterr().err.strip().splitlines()
        assert said[-1].startswith("error: the checkpoint's weights do not fit the configured model")
        assert not last(folder.parent / "more").exists()


SETTINGS = {
    "unet": {
        "optimizer.learning_rate": 0.0123,
        "optimizer.weight_decay": 0.07,
        "optimizer.betas": [0.7, 0.9],
    },
    "cgan": {
        "optimizer.learning_rate": 0.0123,
        "adversary.learning_rate": 0.0456,
        "optimizer.weight_decay": 0.07,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("model", SETTINGS)
def test_settings_of_the_optimiser_are_applied(run: Train, model: str) -> None:
    constant = [*SHORT, f"model={model}", "model.scheduler=none", "trainer.max_epochs=1"]
    folder = run("run", *constant)
    wanted = SETTINGS[model]
    changes = [f"++model.{key}={value}".replace(" ", "") for key, value in wanted.items()]
    more = state(run("more", f"ckpt_path={last(folder)}", "trainer.max_epochs=2", *changes))
    groups = [optimizer["param_groups"][0] for optimizer in more["optimizer_states"]]
    rates = [wanted[key] for key in ("optimizer.learning_rate", "adversary.learning_rate") if key in wanted]
    assert [group["lr"] for group in groups] == [group["initial_lr"] for group in groups] == rates
    assert [schedule["base_lrs"] for schedule in more["lr_schedulers"]] == [[rate] for rate in rates]
    for group in groups:
        assert group["weight_decay"] == 0.07
        assert list(group["betas"]) == list(wanted.get("optimizer.betas", [0.5, 0.999]))
    told = OmegaConf.create(more[CONFIG_KEY]["model"])
    assert {key: OmegaConf.select(told, key) for key in wanted} == wanted


@pytest.mark.slow
def test_another_rate_is_the_schedules_from_the_next_step_on(run: Train) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=4", STOP % 2)
    faster = run("faster", f"ckpt_path={last(folder)}", "model.learning_rate=0.004")
    same = run("same", f"ckpt_path={last(folder)}")
    rates = [state(one)["optimizer_states"][0]["param_groups"][0]["lr"] for one in (faster, same)]
    assert rates[0] == pytest.approx(2 * rates[1]) and not same_weights(faster, same)


@pytest.mark.slow
def test_patience_is_applied(run: Train) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=1", "callbacks.early_stopping.patience=7")
    for name, changes, patience in (("as", [], 7), ("other", ["callbacks.early_stopping.patience=9"], 9)):
        more = state(run(name, f"ckpt_path={last(folder)}", "trainer.max_epochs=2", *changes))
        (stopping,) = [value for key, value in more["callbacks"].items() if key.startswith("EarlyStopping")]
        assert stopping["patience"] == patience


@pytest.mark.slow
def test_a_killed_runs_history_goes_on_without_gaps_or_repetitions(run: Train) -> None:
    whole = run("whole", *SHORT, "trainer.max_epochs=4")
    broken = run("broken", *SHORT, "trainer.max_epochs=4", STOP % 2)
    file = broken / "csv" / "metrics.csv"
    text = file.read_bytes()
    # Killed in the third epoch: a row of it, and half of another one.
    file.write_bytes(text + b"2,5,,0.5,,\r\n2,5,0.2")
    resumed = run("broken", f"ckpt_path={last(broken)}")
    assert rows(resumed) == rows(whole)
    assert file.read_bytes() == (whole / "csv" / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_the_test_of_a_run_that_goes_on_takes_the_place_of_the_former(run: Train) -> None:
    tested = ["test=true", "evaluation.num_panels=0", "evaluation.lesions=false"]
    whole = run("whole", *SHORT, *tested)
    broken = run("broken", *SHORT, *tested, STOP % 1)
    first = rows(broken)
    resumed = run("broken", f"ckpt_path={last(broken)}")
    assert rows(resumed)[:2] == first[:2] and rows(resumed) == rows(whole)


@pytest.mark.slow
def test_where_nothing_is_left_to_train_a_line_says_so(run: Train, capfd: pytest.CaptureFixture[str]) -> None:
    folder = run("run", *SHORT)
    before = rows(folder)
    for changes in ([], ["trainer.max_epochs=1"]):
        capfd.readouterr()
        run("run", f"ckpt_path={last(folder)}", *changes)
        said = [
            line for line in capfd.readouterr().err.splitlines() if line.startswith("nothing was trained")
        ]
        assert (
            len(said) == 1 and "the checkpoint is of epoch 2" in said[0] and "trainer.max_epochs=" in said[0]
        )
        assert rows(folder) == before and state(folder)["epoch"] == 1


@pytest.mark.slow
def test_a_sweep_goes_on_once_for_each_of_its_values(run: Train, tmp_path: Path) -> None:
    folder = run("run", *SHORT, *UNUSUAL, "trainer.max_epochs=1")
    sweep = [f"hydra.sweep.dir={tmp_path / 'sweep'}", "trainer.max_epochs=2", "seed=0,3"]
    run("unused", *sweep, f"ckpt_path={last(folder)}", multirun=True)
    found = [config(tmp_path / "sweep" / str(job)) for job in (0, 1)]
    assert [one["seed"] for one in found] == [0, 3]
    assert all(one["data"]["generator"]["_target_"].endswith("RandomGenerator") for one in found)


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_ctmar_is_given_the_defaults_of_what_it_lacks(run: Train) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=1", "seed=3")
    old = state(folder)
    for key in ("extended_scale", "seed"):
        del old[CONFIG_KEY]["data"][key]
    del old[CONFIG_KEY]["evaluation"], old[CONFIG_KEY]["model"]["refine"]
    torch.save(old, folder / "old.ckpt")
    more = config(run("more", f"ckpt_path={folder / 'old.ckpt'}", "trainer.max_epochs=2"))
    assert more["data"]["extended_scale"] is False and more["seed"] == 3
    assert more["evaluation"]["lesions"] is True and "refine" not in more["model"]


@pytest.mark.slow
def test_a_group_or_key_that_is_deleted_is_not_brought_back(run: Train) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=1", "geometry/acquisition=parallel")
    gone = ["~callbacks.early_stopping", "~model.freeze", "callbacks.epoch_line=null", "trainer.max_epochs=2"]
    more = config(run("more", f"ckpt_path={last(folder)}", *gone))
    assert "early_stopping" not in more["callbacks"] and "freeze" not in more["model"]
    assert (
        more["callbacks"]["epoch_line"] is None and more["callbacks"]["checkpoint"]["monitor"] == "val/loss"
    )


@pytest.mark.slow
def test_a_checkpoint_decides_neither_over_files_nor_over_foreign_classes(
    run: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run("run", *SHORT, "trainer.max_epochs=1")
    forged = state(folder)
    forged[CONFIG_KEY]["callbacks"]["checkpoint"]["dirpath"] = str(tmp_path / "elsewhere")
    forged[CONFIG_KEY]["callbacks"]["epoch_line"] = {
        "_target_": "os.system",
        "command": f"touch {tmp_path}/called",
    }
    forged[CONFIG_KEY]["callbacks"]["image_panels"] = {
        "_target_": "ctmar.callbacks.ImagePanels", "folder": str(tmp_path / "elsewhere"),
    }  # fmt: skip
    forged[CONFIG_KEY]["trainer"] |= {
        "_target_": "os.system",
        "plugins": [{"_target_": "os.system", "command": f"touch {tmp_path}/called"}],
        "default_root_dir": str(tmp_path / "elsewhere"),
    }
    forged[CONFIG_KEY]["logger"] = {"other": {"_target_": "os.system", "command": f"touch {tmp_path}/called"}}
    torch.save(forged, tmp_path / "forged.ckpt")
    more = run("more", f"ckpt_path={tmp_path / 'forged.ckpt'}", "trainer.max_epochs=2")
    assert not (tmp_path / "called").exists() and not (tmp_path / "elsewhere").exists()
    assert state(more)["epoch"] == 1 and (more / "csv" / "metrics.csv").is_file()
    said = capfd.readouterr().err
    assert "trainer.plugins" in said and "callbacks.epoch_line (os.system)" in said
    forged[CONFIG_KEY]["data"]["generator"] = {"_target_": "os.system", "command": "true"}
    torch.save(forged, tmp_path / "forged.ckpt")
    run("refused", f"ckpt_path={tmp_path / 'forged.ckpt'}", status=2)
    assert "a checkpoint may name classes of ctmar's" in capfd.readouterr().err


@pytest.mark.slow
def test_a_run_that_validates_nothing_is_no_failure(run: Train, capfd: pytest.CaptureFixture[str]) -> None:
    run("rare", *SHORT, "trainer.check_val_every_n_epoch=5")
    run("none", *SHORT, "+trainer.limit_train_batches=0")
    said = capfd.readouterr().err
    assert said.count("this run validated nothing: optimized_metric=val/loss has no value") == 2
    run("wrong", *SHORT, "optimized_metric=val/los", status=2)
    assert "optimized_metric must be a metric of this run (" in capfd.readouterr().err
