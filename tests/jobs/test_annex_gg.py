"""The study of the proposed Annex GG as a benchmark, tiny."""

import json
import sys
from pathlib import Path

import pytest

from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import benchmark, run
from ctmar.metrics.outside import mar_eval_version
from ctmar.report.detection import detection_text
from tests import children

STUDY = [
    "benchmark=annex_gg",
    "geometry=small",
    "benchmark.photons_per_ray=[1e6]",
    "benchmark.contrasts_hu=[1,400]",
    "benchmark.realisations=12",
    "benchmark.generator.lesion_radius_mm=6",
    "model=li",
]


@pytest.mark.slow
def test_a_study_tells_a_strong_lesion_from_none_and_says_who_judged(tmp_path: Path) -> None:
    given = [*STUDY[:-1], "models=[nmar]", "benchmark.judge=ctmar", "logger=wandb"]
    out = children.run([sys.executable, "-m", "ctmar", "benchmark", *given, f"hydra.run.dir={tmp_path}"])
    assert out.returncode == 0, out.stderr
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["methods"]) == ["uncorrected", "nmar", "clean"]
    assert summary["judge"] == "ctmar" and summary["agreement"] is None
    assert summary["num_cases"] == 36 and summary["off_trace_max_abs_change"] == 0.0
    cells = {(row["method"], row["contrast_hu"]): row for row in summary["cells"]}
    for method in summary["methods"]:
        assert cells[method, 400]["auc"] > 0.95
        assert cells[method, 1]["auc_low"] < 0.5 < cells[method, 1]["auc_high"]
    bias = {name: told["bias_hu"]["mean"] for name, told in summary["methods"].items()}
    assert abs(bias["clean"]) < abs(bias["uncorrected"])
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/table/evaluation/cells_*.json"))
    told = detection_text(summary)
    assert told == (tmp_path / "evaluation" / "report.txt").read_text(encoding="utf-8").rstrip("\n")
    assert told in out.stdout
    assert told.startswith("judged by ctmar") and "uncorrected (FBP)" in told and "NOT CLEAR OF 0" in told


@pytest.mark.slow
@pytest.mark.skipif(mar_eval_version() is None, reason="the extra judges is not installed")
def test_mar_eval_judges_where_it_is_and_agrees_on_the_same_channels(tiny, tmp_path: Path) -> None:
    given = [*STUDY, "benchmark.contrasts_hu=[40,80]", "models=[uncorrected]"]
    summary = benchmark(tiny(*given, job="benchmark"), tmp_path)
    assert summary["judge"] == "mar-eval"
    assert list(summary["judges"]) == ["mar-eval", "mar-eval, ctmar's channels", "ctmar"]
    assert summary["agreement"]["largest_difference"]["mar-eval, ctmar's channels"] <= 0.02
    assert "judged by mar-eval" in detection_text(summary)


@pytest.mark.parametrize(
    "given,match",
    [
        (("benchmark.photons_per_ray=[0]",), "photons_per_ray must be a list of different numbers positive"),
        (("benchmark.contrasts_hu=[10,0]",), "contrasts_hu must be a list of different numbers other than 0"),
        (("benchmark.contrasts_hu=[10,10]",), "contrasts_hu must be a list of different numbers"),
        (("benchmark.realisations=4",), "realisations must be 8 or more to train and test on, got 4"),
        (("benchmark.realisations=many",), "benchmark.realisations must be"),
        (("benchmark.judge=jury",), "judge must be one of auto, ctmar, mar-eval, got 'jury'"),
        (("benchmark.patch_radii=0.5",), "benchmark.patch_radii must be 1 or more, got 0.5"),
        (("num_cases=3",), "annex_gg reads no num_cases, got 3: benchmark.realisations=N"),
        (("freeze=true",), "annex_gg reads no freeze, got True"),
        (("+metric.peak._target_=numpy.max",), "annex_gg reads no metric, got .*: its figures are"),
        (("evaluation.limit=true",), "annex_gg reads no evaluation.limit, got True"),
        (
            ("benchmark.generator._target_=ctmar.scenes.RandomGenerator", "~benchmark.generator.distance_mm")
            + tuple(f"~benchmark.generator.{k}" for k in ("lesion_radius_mm", "max_bearing_deg")),
            "benchmark.generator must be a SpinalRod, got RandomGenerator",
        ),
        (("benchmark.patch_radii=60",), "a patch of .* pixels must lie in the image"),
    ],
)
def test_what_a_study_cannot_do_is_refused_before_it_begins(tiny, given: tuple[str, ...], match: str) -> None:
    with pytest.raises(CtmarError, match=match):
        run(tiny("benchmark=annex_gg", "model=li", "models=[uncorrected]", *given, job="benchmark"))
