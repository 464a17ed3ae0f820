"""``scripts/benchmarks/measure_untold.py``: what is told and what is not, cases that stay, means."""

import json
import sys
from pathlib import Path

import pytest

from ctmar.data.simulate import Simulator
from scripts.benchmarks import measure_untold
from scripts.benchmarks.measure_untold import Part, Score

TINY = ("--cases", "1", "--workers", "1", "--set", "geometry=tiny")


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["measure_untold.py", *map(str, words)])
    monkeypatch.setattr(
        measure_untold,
        "PARTS",
        {
            "small_screws": Part("procedural_small", "realistic"),
            "small_random": Part("procedural_small", "random"),
            "away": Part("thorax", "random"),
        },
    )
    return measure_untold.main()


@pytest.mark.slow
def test_cases_stay_and_a_second_run_gives_the_same_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CTMAR_DATA", str(tmp_path / "nowhere"))
    words = [*TINY, "--rows", "standard", "counting", "gold", "--cache", tmp_path / "cases", "--json"]
    assert run(monkeypatch, *words, tmp_path / "first.json") == 0
    told = capsys.readouterr()
    assert "left out: away" in told.err and told.out.splitlines()[0].split()[-2:] == ["physics", "untold"]

    def refuse(*of: object) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr(Simulator, "case", refuse)
    assert run(monkeypatch, *words, tmp_path / "second.json") == 0
    first, second = (
        json.loads((tmp_path / name).read_text(encoding="utf-8")) for name in ("first.json", "second.json")
    )
    del first["made"]["command"], second["made"]["command"]  # they name their files
    assert first == second
    found = first
    assert found["tables"][0]["rows"][2][:2] == ["gold", 1]
    assert [(row["row"], row["cases"]) for row in found["table"]] == [
        ("standard", 2),
        ("counting", 2),
        ("gold", 1),  # no screws are of gold
    ]
    standard, counting, _ = found["table"]
    # A scan does not tell what its detector counts.
    assert standard["physics untold"] == standard["physics"]
    assert standard["physics"] != counting["physics"] != counting["physics untold"]
    assert standard["nmar"] < standard["uncorrected"]


def test_means_are_over_the_cases_of_a_row_and_an_untold_column_stands_where_it_differs() -> None:
    def score(row: str, case: int, told: float, untold: float) -> Score:
        return Score(row, "part", case, {"a": told, "b": 1.0, "a untold": untold, "b untold": 1.0})

    scores = [score("one", 0, 2.0, 2.0), score("one", 1, 4.0, 4.0), score("two", 0, 5.0, 7.0)]
    assert measure_untold.table(scores) == [
        {"row": "one", "cases": 2, "a": 3.0, "b": 1.0, "a untold": 3.0},
        {"row": "two", "cases": 1, "a": 5.0, "b": 1.0, "a untold": 7.0},
    ]
    assert list(measure_untold.table(scores[:2])[0]) == ["row", "cases", "a", "b"]


@pytest.mark.slow
def test_every_row_and_method_is_made_of_settings_that_there_are() -> None:
    for row in measure_untold.ROWS.values():
        measure_untold.config("data=random", *row.scan, *(row.realistic or ()), *(row.random or ()))
    method, settings = measure_untold.method_of("physics:path_error=0.1:rounds=2", ())
    assert (method.path_error, method.rounds) == (0.1, 2) and '"rounds": 2' in settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "magic"), "--methods must be from "),
        (("--methods", "unet"), "got 'unet', which is trained"),
        (("--methods", "physics:magic=1"), "settings must be keys of ctmar's"),
        (("--rows", "magic"), "argument --rows: invalid choice: 'magic'"),
        (("--cases", "0"), "--cases and --workers must be 1 or more"),
        (("--json", "/no/such/f.json"), "--json must lie in a folder that exists"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        status = run(monkeypatch, *words)
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2 and message in capsys.readouterr().err.splitlines()[-1]
