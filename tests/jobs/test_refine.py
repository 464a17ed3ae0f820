"""A run with an image network behind its completion, from training to every report."""

import csv
import json
from pathlib import Path

import pytest
import torch

from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import find_models
from ctmar.jobs.correct import method_from_checkpoint
from ctmar.jobs.evaluate import run as evaluate_run
from ctmar.jobs.export import run as export_run
from ctmar.jobs.train import train

FEW = ["trainer.max_epochs=1", "evaluation.num_panels=0", "model.refine_channels=[8,16]"]


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    text = (folder / "evaluation" / "cases.csv").read_text(encoding="utf-8")
    return [row for row in csv.DictReader(text.splitlines()) if row["method"] == "model"]


@pytest.mark.parametrize("slices", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_refined_run_reports_it_and_evaluates_to_the_same(tiny, tmp_path: Path, slices: int) -> None:  # type: ignore[no-untyped-def]
    wide = f"model.slices={slices}"
    train(tiny(*FEW, wide, folder="plain"))
    start = f"model.generator_checkpoint={tmp_path / 'plain' / 'checkpoints' / 'best.ckpt'}"
    train(tiny(*FEW, wide, "model.refine=after", "model.learning_rate=0.02", start, folder="after"))
    plain, after = summary_of(tmp_path / "plain"), summary_of(tmp_path / "after")
    assert plain["changes_untouched_rays"] == [] and after["changes_untouched_rays"] == ["model"]
    assert plain["off_trace_max_abs_change"] == after["off_trace_max_abs_change"] == 0.0
    # The completion is the plain run's, the image is not.
    for before, refined in zip(rows_of(tmp_path / "plain"), rows_of(tmp_path / "after"), strict=True):
        assert before["rmse_sinogram_trace"] == refined["rmse_sinogram_trace"]
        assert before["rmse_hu_body"] != refined["rmse_hu_body"]
        assert float(before["off_trace_rms_reprojected"]) == 0 < float(refined["off_trace_rms_reprojected"])
    best = tmp_path / "after" / "checkpoints" / "best.ckpt"
    again = ["evaluation.num_panels=0", f"ckpt_path={best}"]
    evaluate_run(tiny(*again, job="evaluate", folder="again"), again[1:])
    assert summary_of(tmp_path / "again") == after
    model = find_models(tiny("model=li", f"models=[{best}]", job="benchmark"))["after"]
    assert model.own_image
    # What rests on the measured rays takes no such checkpoint.
    with pytest.raises(CtmarError, match=r"completion alone, got model\.refine=after"):
        method_from_checkpoint(best)
    with pytest.raises(CtmarError, match=r"completion alone, got model\.refine=after"):
        export_run(tiny(f"ckpt_path={best}", f"output={tmp_path}/a.safetensors", job="export", bare=True))


@pytest.mark.slow
def test_joint_gan_resumes_to_the_same(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings = ["model=cgan", "model.refine=joint", "model.refine_channels=[8,16]", "test=false"]
    stop = "+callbacks.stop={_target_:tests.jobs.stop_after.StopAfter,epochs:1}"
    train(tiny(*settings, folder="whole"))
    train(tiny(*settings, stop, folder="broken"))
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    train(tiny(*settings, f"ckpt_path={last}", folder="resumed"))
    whole, resumed, broken = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "resumed", "broken")
    )
    assert any(name.startswith("method.refinement.") for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], broken[name]) for name in whole)
