"""A metric of a user's own, from a folder that holds nothing else: in every job and all that it writes."""

import math
from pathlib import Path

import pytest

from tests.outside.folder import NETWORK, SMALL, done, refused, rows, summary, write

MINE = """
    from ctmar.metrics import rmse


    def percentile(image_hu, truth, percent: float = 50.0):
        '''Of the absolute error near metal, HU.'''
        assert image_hu.shape == truth.reference_hu.shape and len(image_hu) == 1
        errors = (image_hu - truth.reference_hu).abs()[truth.near]
        image_hu.zero_()  # a copy: what is done to it is nobody else's
        return errors.quantile(percent / 100)


    class Within:
        def __init__(self, tissue="vertebral_body"):
            self.tissue = tissue

        def __call__(self, image_hu, truth):
            return rmse(image_hu, truth.reference_hu, truth.tissues[self.tissue])


    def pair(image_hu, truth):
        return image_hu.mean(-1)


    def alone(image_hu):
        return 0.0
"""
FOLDER = {
    "mine.py": MINE,
    "configs/metric/p95.yaml": "p95_near:\n  _target_: mine.percentile\n  percent: 95\n",
    "configs/metric/vertebra.yaml": "vertebra:\n  _target_: mine.Within\n",
    "configs/metric/lung.yaml": "no_lung:\n  _target_: mine.Within\n  tissue: lung\n",
    "configs/metric/pair.yaml": "pair:\n  _target_: mine.pair\n",
    "configs/metric/alone.yaml": "alone:\n  _target_: mine.alone\n",
    "configs/metric/taken.yaml": "rmse_hu_near:\n  _target_: mine.percentile\n",
    "configs/metric/bare.yaml": "_target_: mine.percentile\n",
}
EVALUATE = ("evaluate", "--config-dir=configs", *SMALL, "model=li", "data.num_cases.test=2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FOLDER)


def test_it_stands_in_all_that_an_evaluation_writes(folder: Path) -> None:
    chosen = ("metric=[p95,vertebra,lung]", "evaluation.num_panels=1", "hydra.run.dir=run")
    out = done(folder, *EVALUATE, *chosen)
    heading = out.stdout.splitlines()
    (columns,) = [line for line in heading if line.startswith("method ")]
    assert columns.split()[-3:] == ["p95_near", "vertebra", "no_lung"]
    found = summary(folder / "run")
    assert found["own_metrics"] == ["p95_near", "vertebra", "no_lung"]
    methods = found["methods"]
    assert list(methods) == ["uncorrected", "li", "clean"]
    assert 0 < methods["clean"]["p95_near"]["mean"] < methods["li"]["p95_near"]["mean"]
    # Measured like ctmar's own, by the same functions: the same figure.
    assert methods["li"]["vertebra"] == methods["li"]["rmse_hu_vertebral_body"]
    # The small body has no lung: nothing was measured, and that is no 0.
    assert methods["li"]["no_lung"] == methods["li"]["rmse_hu_lung"]
    assert methods["li"]["no_lung"]["n"] == 0 and methods["li"]["no_lung"]["mean"] is None
    table = rows(folder / "run/evaluation/cases.csv")
    assert all(float(row["p95_near"]) > 0 and math.isnan(float(row["no_lung"])) for row in table)
    assert found["differences"]["p95_near"]["li - uncorrected"]["n"] == 2
    assert "<th>p95_near</th>" in (folder / "run/evaluation/report.html").read_text(encoding="utf-8")
    # Off the metrics of one's own nothing changes.
    done(folder, *EVALUATE, "evaluation.num_panels=1", "hydra.run.dir=plain")
    plain = summary(folder / "plain")
    assert "own_metrics" not in plain
    for name, figures in plain["methods"].items():
        assert {key: methods[name][key] for key in figures} == figures


@pytest.mark.slow
def test_a_training_is_tested_and_judged_by_it(folder: Path) -> None:
    job = ("train", "--config-dir=configs", *SMALL, *NETWORK, "metric=p95", "hydra.run.dir=run")
    done(folder, *job, "optimized_metric=model/p95_near")
    assert summary(folder / "run")["methods"]["model"]["p95_near"]["n"] == 1
    logged = rows(folder / "run/csv/metrics.csv")
    assert any(float(row["test/model/p95_near"] or 0) > 0 for row in logged)
    # Gone on with, it is left out where nobody says that its code is trusted; and stays where somebody does.
    on = ("train", "--config-dir=configs", "ckpt_path=run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    line = refused(folder, *on, "hydra.run.dir=on")
    assert "optimized_metric must be a metric of this run, got 'model/p95_near'; metric=[…]" in line
    out = done(folder, *on, "hydra.run.dir=on", "optimized_metric=val/loss")
    assert "left out" in out.stderr and "metric.p95_near (mine.percentile)" in out.stderr
    assert "CTMAR_TRUST" in out.stderr and "own_metrics" not in summary(folder / "on")
    out = done(folder, *on, "hydra.run.dir=named", "metric=[p95]")
    assert "left out" not in out.stderr and summary(folder / "named")["own_metrics"] == ["p95_near"]
    done(folder, *on, "hydra.run.dir=trusted", CTMAR_TRUST="mine")
    assert summary(folder / "trusted")["own_metrics"] == ["p95_near"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("taken", "metric 'rmse_hu_near' must have another name: reports have a column of that name"),
        ("alone", "metric 'alone' must be called with image_hu and truth, which it cannot be"),
        ("bare", "a metric's YAML must hold its name, and below that its _target_"),
        ("absent", "Could not load 'metric/absent'"),
    ],
)
def test_what_is_none_is_one_line(folder: Path, metric: str, message: str) -> None:
    assert message in refused(folder, *EVALUATE, f"metric=[{metric}]", "hydra.run.dir=run")
    assert not (folder / "run").exists()


@pytest.mark.slow
def test_a_wrong_return_is_said_before_a_training(folder: Path) -> None:
    job = ("train", "--config-dir=configs", *SMALL, *NETWORK, "metric=[pair]", "hydra.run.dir=run")
    line = refused(folder, *job)
    assert "metric 'pair' must return one number, got a tensor of shape (1, 64) in test-00000" in line
    assert not (folder / "run").exists()
