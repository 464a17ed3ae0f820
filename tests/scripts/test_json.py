"""What every measuring script writes by ``--json`` is a record that ``ctmar results add`` takes."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ctmar.jobs.results import kept
from ctmar.report.record import Record
from scripts import benchmark_projectors, measure_clinical
from scripts.benchmarks import measure_data_sets, measure_step, measure_throughput
from scripts.validation import check_geometry, check_projectors, compare_aapm_scorer, measure_planner

Stubs = dict[str, Any]
TIMED = {
    "backend": "native",
    "op": "forward",
    "image": 256,
    "views": 180,
    "bins": 367,
    "batch": 1,
    "ms": 3.159,
    "ms_min": 3.0,
    "ms_max": 3.2,
    "ratio_to_astra": 24.68,
    "extra_mib": 2.5,
    "bound_mib": 17.5,
}


def recorded(
    module: ModuleType, stubs: Stubs, words: Sequence[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Record]:
    """The record of a script's run whose measurements are stubs."""
    for name, stub in stubs.items():
        monkeypatch.setattr(module, name, stub)
    monkeypatch.setattr(sys, "argv", [str(module.__file__), *words, "--json", str(folder / "f.json")])
    assert module.main() in (0, None)
    return kept(folder, folder / "f.json")


@pytest.mark.parametrize(
    ("module", "stubs", "words", "name", "row"),
    [
        (
            check_geometry,
            {"rows": lambda: iter([check_geometry.Row("wave left", 24.4, "%", 20, 100)])},
            (),
            "geometry",
            ["wave left", 24.4, "%", "20 to 100", "yes"],
        ),
        (
            check_projectors,
            {"rows": lambda names: iter(check_projectors.Row(n, "disks", 0.13, "%", 0.14) for n in names)},
            ("--backends", "native,torch"),
            "projector-accuracy",
            ["disks", 0.13, 0.13, "%", "0.14", "yes"],
        ),
        (
            measure_planner,
            {"errors": lambda seed: [("L1", 2.0, 0.5 + seed)], "LEVELS": ("L1",)},
            ("2",),
            "planner",
            ["L1", 2, 0, 2.0, 2.0, 2.0, 1.0, 1.45, 1.5],
        ),
        (
            measure_throughput,
            {"rate": lambda cases, processes: 4.5},
            (),
            "simulator-rate",
            ["cases a second", 4.5],
        ),
        (
            measure_throughput,
            {"memory": lambda cases: (0.6, 570.0)},
            ("--memory",),
            "simulator-memory",
            ["slope, KB a case", 0.6],
        ),
        (
            measure_step,
            {"batch": lambda cases: None, "timed": lambda *of: ([0.2, 0.3], [0.1, 0.2], lambda: None)},
            (),
            "step",
            ["bf16", 250.0, 150.0, [1.75, 1.5, 2.0]],
        ),
        (
            benchmark_projectors,
            {"compare": lambda *of: [TIMED], "first_call_ms": lambda *of: 1.0, "available": lambda *of: {}},
            ("--sizes", "256", "--batches", "1", "--operations", "forward"),
            "projector-speed",
            ["256² × 180 × 367", "1", "native", "3.2 (24.7×)", "", "", "2 (18)"],
        ),
        (
            compare_aapm_scorer,
            {
                "load_scorer": lambda folder: None,
                "simulated": lambda *of: [0, 1],
                "compared": lambda *of: {name: [(1.0, 2.0)] for name in compare_aapm_scorer.AAPM_METRICS},
            },
            ("folder",),
            "aapm-scorer",
            ["rmse_hu_aapm", 1.0, 2.0, 1.0, 1.0, "-", 2],
        ),
    ],
    ids=lambda value: value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else "",
)
def test_what_a_script_measured_becomes_a_record(
    module: ModuleType,
    stubs: Stubs,
    words: Sequence[str],
    name: str,
    row: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, record = recorded(module, stubs, words, tmp_path, monkeypatch)
    assert found == name and list(record.tables[0].rows[0]) == row
    script = Path(str(module.__file__)).name
    assert script in record.made.command and "f.json" in record.made.command
    assert str(tmp_path) not in record.made.command and record.made.cases


def test_formats_and_the_feed_are_two_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = measure_data_sets.Table("Formats", ["format", "read, ms"], [["HDF5", 9.0]])

    cases = SimpleNamespace(sets={"train": range(measure_data_sets.CASES)})
    given: Callable[..., Any] = lambda *of: table  # noqa: E731
    stubs = {"build_data": lambda *of: cases, "formats": given, "rounding": given, "feed": given}
    assert recorded(measure_data_sets, stubs, (), tmp_path, monkeypatch)[0] == "data-formats"
    name, record = recorded(measure_data_sets, stubs, ("--feed",), tmp_path, monkeypatch)
    assert name == "data-feed" and len(record.tables) == 1 and len(record.made.hash) == 16


def test_timed_rows_are_added_to_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--sizes", "256", "--batches", "1", "--operations", "forward")
    stubs = {"first_call_ms": lambda *of: 1.0, "available": lambda *of: {}}
    for more, backend in (((), "native"), (("--add",), "torch")):
        rows = [TIMED | {"backend": backend}]
        found = stubs | {"compare": lambda *of, rows=rows: rows}
        recorded(benchmark_projectors, found, (*words, *more), tmp_path, monkeypatch)
    content = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert [row["backend"] for row in content["rows"]] == ["native", "torch"]


def test_streaks_of_a_real_scan_become_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streaks = {"slices": 88, "before": 192.0, "after": 189.8, "fewer": 48}
    told = {"ring_streaks_hu": streaks, "rms_change_hu": {"0_5mm": 30.0}, "seconds": 1.0}
    stubs = {"correct_file": lambda *of: told, "input_digest": lambda path: "abc"}
    name, record = recorded(measure_clinical, stubs, ("stent", "--methods", "nmar"), tmp_path, monkeypatch)
    assert (name, record.made.hash) == ("clinical-stent", "abc")
    assert record.tables[0].rows == [["nmar", 88, 192.0, 189.8, 48, 30.0]]
    assert record.tables[0].columns[-1] == "RMS change, 0 5mm, HU"
