import csv
import json
import math
from pathlib import Path

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.jobs.evaluate import run as evaluate_run
from ctmar.jobs.train import train


def coarse(fan: str) -> list[str]:
    """Overrides for a clinical fan of few views and bins."""
    few = {"num_angles": 96, "det_count": 90, "det_spacing_mm": 10.239, "det_offset_mm": 2.56}
    return [f"{fan}.{key}={value}" for key, value in few.items()]


UNDRAWN = "evaluation.num_panels=0"
"""For runs of which the figures are asked, not the pictures."""

VARIANTS = [
    ["model=unet"],
    ["model=cgan"],
    ["model=li"],
    *(
        pytest.param(overrides, marks=pytest.mark.slow)
        for overrides in (
            ["data=random"],
            ["data=mixed"],
            ["model.slices=3"],
            ["model=cgan", "model.slices=3"],
            ["data.source=image"],
            ["data.metal=threshold"],
            ["scanner=ideal"],
            ["model.fill=zero", "model.inputs=[measured_zeroed,trace]", "scanner=ideal"],
            ["projector=torch"],
            ["logger=tensorboard"],
            ["logger=none", "callbacks=none"],
            ["geometry/acquisition=clinical", *coarse("geometry.acquisition")],
            ["model=li", "geometry/acquisition=helical", *coarse("geometry.acquisition.fan")],
        )
    ),
]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_every_variant_runs_to_its_report(tiny, tmp_path: Path, overrides: list[str]) -> None:  # type: ignore[no-untyped-def]
    metrics, objects = train(tiny(*overrides))
    summary = summary_of(tmp_path / "run")
    trained = "model=li" not in overrides
    assert summary["schema"] == 1 and summary["num_cases"] == 2
    assert summary["off_trace_max_abs_change"] == 0.0
    image, threshold = "data.source=image" in overrides, "data.metal=threshold" in overrides
    assert summary["source"] == ("image" if image else "raw")
    assert summary["metal_from"] == ("threshold" if image or threshold else "scene")
    assert ("model" in summary["methods"]) == trained
    assert {"uncorrected", "li", "nmar"} <= set(summary["methods"])
    assert all(math.isfinite(value) for name, value in metrics.items() if "psnr" not in name)
    rows = rows_of(tmp_path / "run" / "evaluation" / "cases.csv")
    assert len(rows) == 2 * len(summary["methods"])
    assert len(list((tmp_path / "run" / "evaluation" / "panels").glob("*.png"))) == 2
    if trained:
        assert objects["trainer"].current_epoch == 2


@pytest.mark.slow
def test_same_seed_same_figures_other_seed_others(tiny) -> None:  # type: ignore[no-untyped-def]
    settings = ["model=cgan", UNDRAWN, "trainer.max_epochs=1"]
    first, _ = train(tiny(*settings, folder="a"))
    second, _ = train(tiny(*settings, folder="b"))
    other, _ = train(tiny(*settings, "seed=1", folder="c"))
    assert first == second
    assert first["model/rmse_hu_near"] != other["model/rmse_hu_near"]


def test_the_last_weights_are_kept_where_nothing_is_monitored(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    off = ["callbacks.checkpoint.monitor=null", "callbacks.early_stopping=null", "test=false"]
    metrics, objects = train(tiny(*off))
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, last[name]) for name, value in objects["model"].state_dict().items())
    assert metrics["val/loss"] > 0


@pytest.mark.parametrize("model", ["unet", pytest.param("cgan", marks=pytest.mark.slow)])
def test_resume_equals_an_unbroken_run(tiny, tmp_path: Path, model: str) -> None:  # type: ignore[no-untyped-def]
    settings = [f"model={model}", "trainer.max_epochs=4", "test=false"]
    _, whole = train(tiny(*settings, folder="whole"))
    train(
        tiny(
            *settings, "+callbacks.stop={_target_:tests.jobs.stop_after.StopAfter,epochs:2}", folder="broken"
        )
    )
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    _, resumed = train(tiny(*settings, f"ckpt_path={last}", folder="resumed"))
    assert resumed["trainer"].current_epoch == 4
    a, b = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "resumed")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    broken = torch.load(last, weights_only=True)["state_dict"]
    assert not all(torch.equal(a[name], broken[name]) for name in a)
    assert whole["trainer"].global_step == resumed["trainer"].global_step
    best = [run["trainer"].checkpoint_callback.best_model_score for run in (whole, resumed)]
    assert best[0] == best[1]
    assert (tmp_path / "resumed" / "checkpoints" / "best.ckpt").is_file()


def test_the_last_checkpoint_is_of_the_last_epoch_where_an_earlier_was_best(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    # The loss falls: the largest is the first, and no later epoch is "better".
    settings = ["trainer.max_epochs=4", "test=false", "callbacks.checkpoint.mode=max"]
    train(tiny(*settings))
    epochs = {
        name: torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"]
        for name in ("best", "last")
    }
    assert epochs == {"best": 0, "last": 3}


def test_evaluate_equals_the_runs_own_test(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    train(tiny("seed=3", "model.fill=li", UNDRAWN))
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    evaluate_run(tiny(f"ckpt_path={best}", UNDRAWN, job="evaluate", folder="again"), [f"ckpt_path={best}"])
    assert summary_of(tmp_path / "again") == summary_of(tmp_path / "run")
    evaluate_run(
        tiny(f"ckpt_path={best}", "data.num_cases.test=1", UNDRAWN, job="evaluate", folder="one"),
        [f"ckpt_path={best}", "data.num_cases.test=1"],
    )
    assert summary_of(tmp_path / "one")["num_cases"] == 1


@pytest.mark.slow
def test_evaluate_takes_another_acquisition_than_the_runs_own(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    fan = ["geometry/acquisition=clinical", *coarse("geometry.acquisition")]
    few = ["data.num_cases={train:2,val:1,test:1}", UNDRAWN]
    train(tiny("trainer.max_epochs=1", *few, *fan))
    best = f"ckpt_path={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}"
    for folder, changes in (
        ("none", ["geometry/acquisition=parallel"]),
        ("helix", ["geometry/acquisition=helical", *coarse("geometry.acquisition.fan")]),
        ("same", []),
    ):
        evaluate_run(tiny(best, *few, *changes, job="evaluate", folder=folder), [best, *changes])
    errors = {
        name: summary_of(tmp_path / name)["methods"]["uncorrected"]["rmse_hu_near"]["mean"]
        for name in ("run", "none", "helix", "same")
    }
    assert errors["run"] == errors["same"]
    assert len(set(errors.values())) == 3


def test_evaluate_scores_a_method_without_weights(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    evaluate_run(tiny("model=nmar", UNDRAWN, job="evaluate"))
    assert "nmar" in summary_of(tmp_path / "run")["methods"]
    with pytest.raises(CtmarError, match="evaluation needs ckpt_path"):
        evaluate_run(tiny(job="evaluate"))


def test_the_photon_limit_is_a_row_where_it_is_asked_for(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    evaluate_run(tiny("model=nmar", UNDRAWN, "evaluation.limit=true", job="evaluate"))
    figures = summary_of(tmp_path / "run")["methods"]
    assert list(figures) == ["uncorrected", "li", "nmar", "limit", "clean"]
    near = [figures[name]["rmse_hu_near"]["mean"] for name in ("clean", "limit", "nmar")]
    assert near == sorted(near)
    for run in (evaluate_run, train):  # before anything is simulated or trained
        job = "evaluate" if run is evaluate_run else "train"
        with pytest.raises(CtmarError, match="evaluation.limit must go with data.source=raw, got"):
            run(tiny("model=li", "evaluation.limit=true", "data.source=image", job=job, folder="image"))
    assert not (tmp_path / "image").exists()


def test_a_checkpoint_that_is_none_is_refused(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name, content in (("text", b"not a checkpoint"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CtmarError, match="ckpt_path must be a checkpoint of ctmar"):
            evaluate_run(tiny(f"ckpt_path={tmp_path / name}", job="evaluate"))
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CtmarError, match="is none"):
        evaluate_run(tiny(f"ckpt_path={tmp_path / 'foreign.ckpt'}", job="evaluate"))
    with pytest.raises(CtmarError, match="does not exist"):
        train(tiny(f"ckpt_path={tmp_path / 'missing.ckpt'}"))


def test_overfitting_two_cases_lowers_the_loss_tenfold(tiny) -> None:  # type: ignore[no-untyped-def]
    overrides = ["debug=overfit", "trainer.max_epochs=150", "test=false", "model.channels=[16,32]"]
    overrides += ["model.augment_mirror=false", "model.augment_rotate_views=0", "data.num_cases.train=2"]
    metrics, objects = train(tiny(*overrides))
    rows = rows_of(Path(objects["cfg"].paths.output_dir) / "csv" / "metrics.csv")
    losses = [float(row["train/loss"]) for row in rows if row.get("train/loss")]
    assert losses[-1] < 0.1 * losses[0]
