"""A user's own phantom scans as a benchmark."""

import json
from pathlib import Path

import pytest

from ctmar.errors import CtmarError
from ctmar.jobs.benchmark import benchmark, kind_of, run
from ctmar.jobs.benchmark_keys import refuse_unread
from ctmar.metrics.outside import mar_eval_version
from tests.clinical.test_phantom_study import COLUMN, ROW, images, write_study

PLACE = [
    f"benchmark.lesion_at_pixel=[{ROW},{COLUMN}]",
    "benchmark.lesion_radius_mm=6",
    "benchmark.patch_radii=2",
]
MINE = """
from ctmar.methods import linear_interpolation


def complete(scan):
    return linear_interpolation(scan.measured, scan.metal_trace)
"""


def config(tiny, *overrides: str, file: Path | str = "none.csv"):
    given = [f"benchmark.study={file}", *PLACE, "model=li", "benchmark=annex_gg_scans", *overrides]
    return tiny(*given, job="benchmark")


@pytest.mark.slow
def test_scans_before_and_after_are_judged_and_what_is_made_here_beside_them(
    tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    given = {key: stack[:8] for key, stack in images().items() if key[1] != 15}
    file = write_study(tmp_path, given)
    run(
        config(
            tiny,
            "models=[uncorrected,li]",
            "methods={mine:mine.complete}",
            "benchmark.judge=ctmar",
            file=file,
        )
    )
    told = capsys.readouterr().out
    (folder,) = tmp_path.glob("run/evaluation")
    assert {path.name for path in folder.iterdir()} == {"cells.csv", "report.txt", "summary.json"}
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["methods"]) == ["uncorrected", "mar", "li", "mine"] and summary["num_cases"] == 16
    assert summary["methods"]["li"] == summary["methods"]["mine"]
    assert told.startswith("judged by ctmar") and "corrected here: li, mine" in told
    text = told + "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert not any(secret in text for secret in ("Nobody", "SECRET", "19700101", str(tmp_path)))
    assert (folder / "cells.csv").read_text(encoding="utf-8").startswith("judge,dose,contrast_hu,method,auc")


@pytest.mark.skipif(mar_eval_version() is None, reason="the extra judges is not installed")
def test_mar_eval_judges_scans_where_it_is(tiny, tmp_path: Path) -> None:
    file = write_study(tmp_path, images(20))
    summary = benchmark(config(tiny, "models=[uncorrected]", file=file), tmp_path / "out")
    assert list(summary["judges"]) == ["mar-eval", "mar-eval, ctmar's channels", "ctmar"]
    assert summary["agreement"]["largest_difference"]["mar-eval, ctmar's channels"] <= 0.02


@pytest.mark.parametrize(
    "given,match",
    [
        (("benchmark.study=null",), "benchmark.study must be the CSV file that lists the scans, got None"),
        ((), "the study must be a readable CSV file, got none.csv"),
        (("benchmark.lesion_at_mm=[1,2]",), "the lesion's centre must be given as .*, got both"),
        (("benchmark.lesion_at_pixel=[1,a]",), "benchmark.lesion_at_pixel must be a list"),
        (("benchmark.realisations=many",), "benchmark.realisations must be a whole number or null"),
        (("benchmark.judge=jury",), "judge must be one of auto, ctmar, mar-eval, got 'jury'"),
        (("freeze=true",), "annex_gg_scans reads no freeze, got True: its images are the scans"),
        (("images={theirs:x}",), "annex_gg_scans reads no images, got .*benchmark.study=FILE lists"),
    ],
)
def test_what_is_no_study_is_refused_before_it_begins(tiny, given: tuple[str, ...], match: str) -> None:
    with pytest.raises(CtmarError, match=match):
        run(config(tiny, *given))


def test_a_method_both_listed_and_made_here_is_refused(tiny, tmp_path: Path) -> None:
    given = {
        (method.replace("mar", "li"), contrast): stack for (method, contrast), stack in images(8).items()
    }
    file = write_study(tmp_path, given)
    with pytest.raises(CtmarError, match="must be listed or made here .*, got li as both"):
        benchmark(config(tiny, file=file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("geometry=tiny", "its images are the scans that"),
        ("scanner.noise.photons_per_ray=1e5", "its images are the scans that"),
        ("data.metal=threshold", "its images are the scans that"),
        ("catalogue.nmar.bone_above_hu=400", "models are those of ctmar correct"),
        ("projector.filter=hann", "keep the filter"),
        ("evaluation.lesions=false", "look for the lesion alone"),
    ],
)
def test_keys_of_other_benchmarks_are_refused(tiny, override: str, instead: str) -> None:
    kind = kind_of(config(tiny))
    with pytest.raises(CtmarError, match="annex_gg_scans reads no ") as error:
        refuse_unread(["benchmark=annex_gg_scans", override], kind, "annex_gg_scans")
    assert instead in str(error.value)
    refuse_unread(
        ["benchmark=annex_gg_scans", "benchmark.study=a.csv", "projector=native", "logger=wandb"], kind
    )
