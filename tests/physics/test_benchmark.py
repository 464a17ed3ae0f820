"""Each group of the benchmark keeps its bounds here too; what is quick runs in the fast set."""

import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize("group", ["polychromatic", "starvation"])
def test_quick_groups_keep_their_bounds(benchmark: ModuleType, group: str) -> None:
    rows = list(benchmark.GROUPS[group]())
    assert rows and [row for row in rows if not row.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize("group", ["lines", "water", "inserts", "noise", "scatter"])
def test_groups_keep_their_bounds(benchmark: ModuleType, group: str) -> None:
    rows = list(benchmark.GROUPS[group]())
    assert rows and [row for row in rows if not row.passed] == []


@pytest.mark.slow
def test_the_published_shrinkage_shows_in_the_abdomen(
    benchmark: ModuleType, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTMAR_DATA", str(data_dir))
    rows = {row.name: row for row in benchmark.presets()}
    ratio = rows["abdomen, standard to syndeeplesion"]  # the folder is there: nothing is left out
    assert ratio.passed and 2.5 <= ratio.value <= 2.7


def test_a_missed_bound_is_an_exit_status(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = benchmark.Row("lines", "made up", 2.0, high=1.0)
    assert not row.passed and not benchmark.Row("lines", "lost", float("nan")).passed
    for value, status in ((2.0, 1), (0.5, 0)):
        rows = [benchmark.Row("lines", "made up", value, high=1.0)]
        monkeypatch.setitem(benchmark.GROUPS, "lines", lambda rows=rows: iter(rows))
        monkeypatch.setattr("sys.argv", ["benchmark", "--only", "lines", "--json", str(tmp_path / "r.json")])
        assert benchmark.main() == status
        assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["rows"][0]["passed"] is (
            status == 0
        )
