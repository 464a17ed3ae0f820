"""A study trains what is not trained yet, scores all on the same cases, and says by how much they differ."""

import csv
import sys
from pathlib import Path

import pytest
import yaml

from ctmar.config.composing import composed, config_dir
from ctmar.errors import CtmarError
from ctmar.jobs import study as module
from ctmar.jobs.cli import main
from ctmar.jobs.results import kept
from ctmar.jobs.study import Study, Values, as_table, run_study, study_tables
from tests.tiny_runs import SMALL_NETWORK, TINY

SHIPPED = sorted(file.stem for file in (config_dir() / "study").glob("*.yaml"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ctmar", *arguments])
    return main("study")


def study(**changes: object) -> Study:
    given = {"title": "t", "base": [], "trainings": {"a": [], "b": []}, "tests": {"x": []}}
    return Study(**{**given, "seeds": [0, 1], "baseline": "a", **changes})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_training_and_test_of_a_shipped_study_composes(name: str) -> None:
    given = Study.load(name)
    for own in [*given.trainings.values(), *given.tests.values()]:
        assert composed("train", module._last([*given.base, *own])).data.num_cases.train > 0


def test_the_table_averages_seeds_case_by_case_and_pairs_cases() -> None:
    values = {(name, -1): [300.0, 500.0] for name in module.CLASSICAL}
    values |= {("a", 0): [10.0, 30.0], ("a", 1): [30.0, 50.0], ("b", 0): [15.0, 35.0], ("b", 1): [35.0, 55.0]}
    lines = as_table(study(), {"x": values}).splitlines()
    assert lines[0] == "| t | x |"
    assert "| nmar | 400.0 |" in lines
    assert lines[-2] == "| a | 30.0 (20.0 to 40.0) ± 10.0 |"
    # Every case and seed differs by 5: the paired interval has no width, that of the mean has.
    assert lines[-1] == "| b | 35.0 (25.0 to 45.0) ± 10.0; +5.0 (+5.0 to +5.0) |"


def test_the_tables_of_a_page_have_intervals_and_the_seeds_range() -> None:
    values: Values = {(name, -1): [100.0, 300.0] for name in ("uncorrected", "li", "nmar")}
    values |= {("a", 0): [10.0, 30.0], ("a", 1): [30.0, 50.0], ("b", 0): [15.0, 35.0], ("b", 1): [35.0, 55.0]}
    errors, differences, spreads = study_tables(study(), {"x": values})
    assert errors.columns == ["trained on", "x, HU"] and errors.rows[2] == ["nmar", (200.0, 100.0, 300.0)]
    assert errors.rows[-1] == ["b", (35.0, 25.0, 45.0)]
    assert differences.rows == [["b", (5.0, 5.0, 5.0)]] and spreads.rows == [["a", 10.0], ["b", 10.0]]


def test_the_last_of_several_overrides_of_a_key_counts() -> None:
    assert module._last(["data=mixed", "+a.b={x: 1}", "data=random", "a.b=2"]) == ["data=random", "a.b=2"]


@pytest.mark.parametrize(
    "change,message",
    [
        ({"baseline": "none"}, "a baseline among its trainings"),
        ({"seeds": []}, "must have tests, seeds"),
        ({"more": 1}, "must have the keys base, baseline, seeds, tests, title, trainings, got .*more"),
    ],
)
def test_a_study_that_lacks_a_part_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    given = {
        "title": "t",
        "base": [],
        "trainings": {"a": []},
        "tests": {"x": []},
        "seeds": [0],
        "baseline": "a",
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(given | change), encoding="utf-8")
    with pytest.raises(CtmarError, match=message):
        Study.load(str(tmp_path / "own.yaml"))


def test_an_unknown_study_is_one_line_that_names_the_known(capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert call(monkeypatch, "nothing") == 2
    assert "a study must be one of claim, inputs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_trains_once_and_scores_every_training(tmp_path: Path, cache: Path, capfd) -> None:  # type: ignore[no-untyped-def]
    base = [*TINY, *SMALL_NETWORK, "callbacks.early_stopping=null", "trainer.max_epochs=1"]
    trainings = {"one": ["model.loss=root"], "three": ["model.slices=3"]}
    given = study(
        base=base, trainings=trainings, tests={"x": [], "y": ["data=random"]}, seeds=[0], baseline="one"
    )
    table = run_study(given, tmp_path, overrides=[f"paths.outputs={tmp_path}"])
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == table + "\n"
    name, record = kept(tmp_path, tmp_path / "results.json")
    assert name.startswith("study-") and len(record.tables) == 3 and "2 x, 2 y" in record.made.cases
    rows = list(csv.DictReader((tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()))
    assert {(row["test"], row["training"]) for row in rows} == {
        (test, name) for test in "xy" for name in ("uncorrected", "li", "nmar", "one", "three")
    }
    assert len(rows) == 2 * 5 * 2
    capfd.readouterr()
    assert run_study(given, tmp_path, overrides=[f"paths.outputs={tmp_path}"]) == table
    assert "training" not in capfd.readouterr().out


def test_a_setting_that_is_wrong_is_one_line(tmp_path: Path, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    given = {"title": "t", "base": TINY, "trainings": {"a": ["model.learning_rate=-1"]}, "tests": {"x": []}}
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(given | {"seeds": [0], "baseline": "a"}), encoding="utf-8"
    )
    assert call(monkeypatch, str(tmp_path / "own.yaml"), "--folder", str(tmp_path / "out")) == 2
    assert capsys.readouterr().err == "error: learning_rate must be positive, got -1\n"
