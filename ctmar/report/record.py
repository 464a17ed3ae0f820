"""A record: the tables of one measurement, and how it was made, as JSON that a page is written from.

Scripts that measure write one by ``--json`` (:func:`write_measured`); ``ctmar results add`` keeps it, or
makes one of an evaluation's summary.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.report.provenance import Made

SCHEMA = 1
LARGEST_BYTES = 100_000
"""A record is what a page shows, not all that was measured."""
DIGITS = 6
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

Cell = str | float | int | None | Sequence[float]
"""Text, a number, nothing, or a mean with both ends of its interval."""


@dataclass(frozen=True)
class Table:
    """One table of a record.

    Attributes:
        title: What it is of.
        columns: Headings; the unit stands behind the last comma, as ``near RMSE, HU``.
        rows: A cell a column: text, a number, ``[mean, low, high]``, or None for nothing.
        styles: Format of each column's numbers, as ``.1f``; empty for what ``%g`` gives.
        about: What a column means, in short words.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    styles: Sequence[str] = ()
    about: str = ""

    def __post_init__(self) -> None:
        lengths = {len(row) for row in self.rows} | {len(self.columns)}
        if len(lengths) != 1 or len(self.styles) not in (0, len(self.columns)):
            raise CtmarError(
                f"table {self.title!r} must have a cell and a style for each of its columns"
                f" ({len(self.columns)}), got rows of {sorted(map(len, self.rows))},"
                f" {len(self.styles)} styles"
            )


@dataclass(frozen=True)
class Record:
    """What a page is written from.

    Attributes:
        title: The page's.
        made: Command, date, version, machine, cases.
        tables: In the page's order.
        source: ``measured`` by the command, or ``transcribed`` from earlier prose until it is run again.
        protocol: How it was measured, in a sentence or two.
        notes: Paragraphs below the tables; each number in them stands in a table.
        rerun: Commands that come before, such as a training.
    """

    title: str
    made: Made
    tables: Sequence[Table]
    source: str = "measured"
    protocol: str = ""
    notes: Sequence[str] = field(default_factory=list)
    rerun: Sequence[str] = field(default_factory=list)


SOURCES = ("measured", "transcribed")
SPARE = ("protocol", "notes", "rerun")
"""Left out of the JSON where empty."""


def write_measured(
    path: Path, name: str, title: str, made: Made, tables: Sequence[Table], protocol: str = "", **raw: Any
) -> None:
    """Writes what a script measured, in the form that ``ctmar results add`` takes.

    Args:
        path: The file.
        name: Of its page.
        title: Of its page.
        made: How.
        tables: What a page shows.
        protocol: How it was measured, in a sentence or two.
        raw: What else is worth keeping in the file; no record takes it along.
    """
    text = json.dumps(
        {"name": name, **as_json(Record(title, made, tables, protocol=protocol)), **raw}, indent=1
    )
    write_text(path, text + "\n")


def as_json(record: Record) -> dict[str, Any]:
    """The record as JSON has it: numbers of six digits, nothing for what is not finite."""
    found = {"schema": SCHEMA, **asdict(record)}
    for table in found["tables"]:
        table["rows"] = [[_short(cell) for cell in row] for row in table["rows"]]
    return {key: value for key, value in found.items() if key not in SPARE or value}


def _short(cell: Any) -> Any:
    if isinstance(cell, (list, tuple)):
        shortened = [_short(value) for value in cell]
        return shortened if shortened[0] is not None else None
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return cell
    if isinstance(cell, int):
        return cell
    return float(f"{cell:.{DIGITS}g}") if math.isfinite(cell) else None


def as_record(found: Any, told: str) -> Record:
    """A record from its JSON.

    Args:
        found: What the file holds.
        told: The file's name, for errors.

    Raises:
        CtmarError: It is none: a key that lacks, of another type, or of another schema.
    """
    try:
        if found["schema"] != SCHEMA:
            raise KeyError("schema")
        made = Made(**{key.name: str(found["made"].get(key.name, "")) for key in fields(Made)})
        tables = [
            Table(
                str(table["title"]),
                [str(heading) for heading in table["columns"]],
                [list(row) for row in table["rows"]],
                [str(style) for style in table.get("styles", ())],
                str(table.get("about", "")),
            )
            for table in found["tables"]
        ]
        record = Record(
            str(found["title"]),
            made,
            tables,
            str(found.get("source", SOURCES[0])),
            str(found.get("protocol", "")),
            [str(line) for line in found.get("notes", ())],
            [str(line) for line in found.get("rerun", ())],
        )
    except (KeyError, TypeError, AttributeError, IndexError):
        raise CtmarError(
            f"{told} must be a record (title, made, tables; schema {SCHEMA}), or an evaluation's summary.json"
        ) from None
    if record.source not in SOURCES:
        raise CtmarError(f"source of {told} must be one of {', '.join(SOURCES)}, got {record.source!r}")
    return record


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        CtmarError: There is none, or it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise CtmarError(f"a result must be a JSON file, got {path}, which cannot be read") from None
    except ValueError:
        raise CtmarError(f"a result must be a JSON file, got {path}, which is none") from None


def read_records(folder: Path) -> dict[str, Record]:
    """The records of ``FOLDER/data`` by name, in the order of names.

    Raises:
        CtmarError: A file is no record.
    """
    paths = sorted((folder / "data").glob("*.json"))
    return {path.stem: as_record(read_json(path), path.name) for path in paths}


def write_record(folder: Path, name: str, record: Record) -> Path:
    """Writes ``FOLDER/data/NAME.json``.

    Raises:
        CtmarError: A name that is no file's, or more than a page shows.
    """
    if not NAME.fullmatch(name) or name == "index":
        raise CtmarError(f"a record's name must be small letters, digits, '.', '_' and '-', got {name!r}")
    text = _lines(as_json(record))
    if len(text.encode()) > LARGEST_BYTES:
        raise CtmarError(f"a record must have at most {LARGEST_BYTES} bytes, {name} has {len(text.encode())}")
    path = folder / "data" / f"{name}.json"
    write_text(path, text)
    return path


def _lines(found: dict[str, Any]) -> str:
    """JSON with a row a line, which a person can compare."""
    marks: dict[str, str] = {}

    def marked(row: Any) -> str:
        mark = f"@row{len(marks)}@"
        marks[f'"{mark}"'] = json.dumps(row, ensure_ascii=False)
        return mark

    for table in found["tables"]:
        table["rows"] = [marked(row) for row in table["rows"]]
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return re.sub(r'"@row\d+@"', lambda mark: marks[mark.group()], text) + "\n"
