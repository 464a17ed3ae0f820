"""Records: what is refused, what is kept, and that a row stays a line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ctmar.errors import CtmarError
from ctmar.report.provenance import commit, machine, made_now
from ctmar.report.record import (
    LARGEST_BYTES,
    Record,
    Table,
    as_record,
    read_json,
    read_records,
    write_measured,
    write_record,
)
from ctmar.report.result_pages import filled, index, page, shown

MADE = made_now("ctmar benchmark models=[li]", "two cases", "0123abcd")
TABLE = Table(
    "Errors", ["method", "near RMSE, HU", "n"], [["LI", [1 / 3, -0.25, float("nan")], 2]], ["", ".2f", ""]
)
RECORD = Record("A page", MADE, [TABLE], protocol="by hand", notes=["A note."])


def test_a_record_comes_back_with_six_digits(tmp_path: Path) -> None:
    path = write_record(tmp_path, "mine", RECORD)
    found = read_records(tmp_path)["mine"]
    assert list(found.tables[0].rows[0]) == ["LI", [0.333333, -0.25, None], 2]
    assert replace(found, tables=RECORD.tables) == RECORD
    assert '   ["LI", [0.333333, -0.25, null], 2]\n' in path.read_text(encoding="utf-8")


def test_a_script_writes_a_record_and_keeps_its_raw_figures(tmp_path: Path) -> None:
    write_measured(tmp_path / "f.json", "mine", "A page", MADE, [TABLE], "by hand", cases=[1, 2])
    content = read_json(tmp_path / "f.json")
    assert content["name"] == "mine" and content["cases"] == [1, 2]
    assert as_record(content, "f.json").made == MADE


@pytest.mark.parametrize("key", ["schema", "title", "made", "tables"])
def test_a_file_that_lacks_something_is_no_record(key: str, tmp_path: Path) -> None:
    content = read_json(write_record(tmp_path, "mine", RECORD))
    del content[key]
    with pytest.raises(CtmarError, match="mine must be a record"):
        as_record(content, "mine")
    with pytest.raises(CtmarError, match="mine must be a record"):
        as_record([], "mine")


def test_another_source_a_torn_row_a_large_record_and_a_wild_name_are_refused(tmp_path: Path) -> None:
    content = json.loads(write_record(tmp_path, "mine", RECORD).read_text(encoding="utf-8"))
    with pytest.raises(
        CtmarError, match="source of mine must be one of measured, transcribed, got 'guessed'"
    ):
        as_record(content | {"source": "guessed"}, "mine")
    with pytest.raises(CtmarError, match="a cell and a style for each of its columns"):
        Table("torn", ["a", "b"], [["1"]])
    with pytest.raises(CtmarError, match="at most 100000 bytes"):
        write_record(tmp_path, "mine", replace(RECORD, notes=["x" * LARGEST_BYTES]))
    for name in ("../mine", "Mine", "index", ""):
        with pytest.raises(CtmarError, match="a record's name must be"):
            write_record(tmp_path, name, RECORD)
    for file in ("absent.json", "data"):
        with pytest.raises(CtmarError, match="must be a JSON file"):
            read_json(tmp_path / file)


def test_cells_are_shown_with_their_interval_and_a_minus() -> None:
    assert shown([1 / 3, -0.25, 1], ".2f") == "0.33 (−0.25 to 1.00)"
    assert [shown(cell) for cell in (None, "a|b", 2, -0.5)] == ["", r"a\|b", "2", "−0.5"]
    assert shown(3.0, "+.1f") == "+3.0"


def test_a_page_tells_how_it_was_made_and_what_is_transcribed() -> None:
    text = page("mine", RECORD)
    for told in ("two cases", "`0123abcd`", MADE.date, "by hand", "ctmar benchmark models=[li]", "A note."):
        assert told in text
    assert (
        "results add FILE" not in text
        and "ranscribed" not in text
        and "To be run again" not in index({"mine": RECORD})
    )
    copied = replace(RECORD, source="transcribed", made=replace(MADE, hash=""), rerun=["python other.py"])
    assert "**Transcribed, until the command is run again.**" in page("mine", copied)
    assert "not kept" in page("mine", copied) and "The command below makes them anew" in page("mine", copied)
    alone = replace(copied, made=replace(MADE, command=""), rerun=[])
    assert "no one command makes them anew" in page("mine", alone) and "```sh" not in page("mine", alone)
    assert "No one command makes these anew: [A page](mine.md)" in index({"mine": alone})
    listed = index({"mine": copied})
    assert (
        "## To be run again" in listed
        and "python other.py\nctmar benchmark models=[li]\nctmar results add FILE --name mine\n" in listed
    )


def test_marked_tables_are_filled_and_nothing_else() -> None:
    text = "before\n<!-- results: mine#errors -->\nold\n<!-- /results -->\nafter\n"
    once = filled(text, {"mine": RECORD}, "docs/results")
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    assert "| LI | " in once and "(docs/results/mine.md)" in once
    assert filled(once, {"mine": RECORD}, "docs/results") == once
    for wrong in ("mine#other", "other#errors", "mine#1"):
        with pytest.raises(CtmarError, match=f"got {wrong}"):
            filled(text.replace("mine#errors", wrong), {"mine": RECORD}, "")


def test_machines_are_told_without_a_name() -> None:
    import platform

    assert "core" in machine() and platform.node() not in machine()
    assert commit() == "" or len(commit().rstrip("+")) >= 7
