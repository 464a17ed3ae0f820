"""``ctmar results``: from a run's summary to a page, and what is refused on the way."""

import json
import sys
from pathlib import Path

import pytest

from ctmar.evaluation import evaluate
from ctmar.jobs.cli import main
from ctmar.jobs.made import protocol_of
from ctmar.jobs.results import kept, write_pages
from ctmar.metrics.statistics import bootstrap_mean, paired_share
from ctmar.report.record import Record, Table, read_records, write_measured, write_record
from tests.evaluation.test_evaluation import METHODS, make_case
from tests.report.test_record import MADE


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["results.py", *map(str, words)])
    return main("results")


def noted(folder: Path) -> Path:
    """An evaluation's folder with what a job notes of how it was made."""
    known = {
        "command": "ctmar evaluate model=nmar data.cache=/home/me/set",
        "date": "2026-01-02",
        "version": "9",
    }
    told = known | {"commit": "", "machine": "1 core", "cases": "3 cases", "hash": "abc", "protocol": "small"}
    (folder / "made.json").write_text(json.dumps(told), encoding="utf-8")
    return folder / "summary.json"


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "evaluation"
    evaluate(METHODS, [make_case(index) for index in range(3)], folder, num_panels=0, progress=False)
    return noted(folder)


def test_a_summary_becomes_a_record_and_a_page(summary: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    folder = tmp_path / "docs" / "results"
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n<!-- results: mine#all-3-cases -->\n<!-- /results -->\n", encoding="utf-8")
    words = ("--name", "mine", "--title", "My method", "--folder", folder)
    assert command(monkeypatch, "add", summary, *words) == 0
    assert command(monkeypatch, "pages", "--folder", folder) == 0
    assert str(folder / "mine.md") in capsys.readouterr().out
    text = (folder / "mine.md").read_text(encoding="utf-8")
    assert "# My method" in text and "| small |" in text and "data.cache=set" in text
    figures = json.loads(summary.read_text(encoding="utf-8"))["methods"]["li"]["rmse_hu_near"]
    assert f"| LI | {figures['mean']:.1f} (" in text and f"| {figures['median']:.1f} |" in text
    assert "(docs/results/mine.md)" in readme.read_text(encoding="utf-8")
    assert "[My method](mine.md)" in (folder / "index.md").read_text(encoding="utf-8")
    assert write_pages(folder) == []  # the same records, the same bytes
    (folder / "mine.md").write_text("edited", encoding="utf-8")
    (folder / "gone.md").write_text("of no record", encoding="utf-8")
    assert write_pages(folder) == [folder / "mine.md", folder / "gone.md"]
    assert (folder / "mine.md").read_text(encoding="utf-8") == text and not (folder / "gone.md").exists()


def test_a_new_run_replaces_figures_and_keeps_the_title(summary: Path, tmp_path: Path) -> None:
    name, first = kept(tmp_path, summary, "mine", "My method")
    old = Record(first.title, MADE, first.tables, "transcribed", "by hand", ["A note."], ["python b.py"])
    (tmp_path / "data").mkdir()
    write_record(tmp_path, name, old)
    _, again = kept(tmp_path, summary, "mine")
    assert (again.title, again.source, again.made.hash, again.protocol) == (
        "My method",
        "measured",
        "abc",
        "small",
    )
    assert again.rerun == [] and again.notes == ["A note."]


def test_what_a_script_wrote_names_itself(tmp_path: Path, monkeypatch) -> None:
    table = Table("Errors", ["what", "error, %"], [["mine", 2.5]])
    write_measured(tmp_path / "f.json", "own", "Own figures", MADE, [table], raw=[1])
    assert command(monkeypatch, "add", tmp_path / "f.json", "--folder", tmp_path) == 0
    assert read_records(tmp_path)["own"].tables[0].rows == [["mine", 2.5]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add",), "add needs at least one summary.json"),
        (("add", "a.json", "b.json", "--name", "x"), "--name is of one result, got 2 files"),
        (("add", "absent.json"), "absent.json, which cannot be read"),
        (("add", "list.json"), "list.json must be a record"),
        (("add", "alone/summary.json", "--name", "x"), "there must be made.json"),
        (("add", "torn/summary.json", "--name", "x"), "there must be cases.csv"),
        (("add", "nameless.json"), "--name must say what the record of nameless.json is called"),
        (("pages", "a.json"), "pages takes no file, got a.json"),
        (("pages",), "must hold a record, got none"),
    ],
)
def test_bad_input_is_a_line(words, message: str, tmp_path: Path, monkeypatch, capsys, summary: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text("[]", encoding="utf-8")
    for folder in ("alone", "torn"):
        Path(folder).mkdir()
        (Path(folder) / "summary.json").write_bytes(summary.read_bytes())
    noted(Path("torn"))
    write_measured(Path("nameless.json"), "", "", MADE, [])
    assert command(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "docs").exists()


def test_a_share_of_an_error_has_the_interval_of_its_cases() -> None:
    base, own = [100.0, 200.0, 300.0], [50.0, 100.0, 150.0]
    assert paired_share(base, own) == pytest.approx((0.5, 0.5, 0.5, 3))
    worse = paired_share(base, [110.0, 260.0, float("nan")])
    assert worse.n == 2 and worse.mean == pytest.approx(1 - 370 / 300)
    assert worse.low == pytest.approx(-0.3) and worse.high == pytest.approx(-0.1)
    assert paired_share([], []).n == 0 and bootstrap_mean([]).n == 0
    with pytest.raises(ValueError, match="one value a case"):
        paired_share([1.0], [1.0, 2.0])


@pytest.mark.slow
def test_a_job_says_how_its_summary_came_about(tiny, tmp_path: Path) -> None:
    from ctmar.jobs.evaluate import run as evaluated

    given = ("model=nmar", "data.num_cases.test=2", "evaluation.num_panels=0", "evaluation.lesions=false")
    evaluated(tiny(*given, job="evaluate"), [*given, "hydra.run.dir=elsewhere"])
    summary = next(tmp_path.rglob("summary.json"))
    name, record = kept(tmp_path, summary, "mine")
    assert record.made.command == f"ctmar evaluate {' '.join(given)}"
    assert record.made.cases == "2 cases of the test split" and len(record.made.hash) == 16
    assert "48 views" in record.protocol and "scans from raw data; metal from scene" in record.protocol
    assert "rebinned" not in record.protocol and record.tables[0].rows[0][0] == "uncorrected"


def test_a_protocol_tells_doses_and_the_scanner_s_own_rays(tiny) -> None:
    plain = protocol_of(tiny("model=li", job="evaluate"), {})
    assert "rebinned" not in plain and "1,000,000 photons a ray" in plain
    fan = tiny("model=li", "geometry/acquisition=clinical", "scanner=ideal", job="evaluate")
    assert "rebinned from the scanner's own rays; one energy; no noise" in protocol_of(fan, {})
    study = tiny("benchmark=annex_gg", "benchmark.photons_per_ray=[1e4,3e5]", "model=li", job="benchmark")
    assert "10,000 / 300,000 photons a ray" in protocol_of(study, {})
