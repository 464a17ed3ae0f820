"""Results as pages: ``ctmar results add FILE`` keeps what was measured, ``ctmar results pages`` writes it up.

``FILE`` is ``evaluation/summary.json`` of a benchmark, an evaluation, a training, or what a script of this
project wrote by ``--json``.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctmar.errors import CtmarError
from ctmar.files import write_text
from ctmar.jobs.made import MADE
from ctmar.report.record import Record, as_record, read_json, read_records, write_record
from ctmar.report.result_pages import INDEX, written
from ctmar.report.result_tables import detection_tables, evaluation_tables, read_cases

PLACE = re.compile(r"(?<![\w.])(?:\.{0,2}/|~/|[A-Za-z]:\\)[^\s,\]}'\"]*")
"""A path of the machine's, of which only the last part says something to others."""


def run(arguments: argparse.Namespace) -> None:
    """Adds records, or writes the pages of all."""
    folder: Path = arguments.folder
    if arguments.action == "pages":
        if arguments.files:
            raise CtmarError(f"pages takes no file, got {arguments.files[0]}; add takes results")
        for path in write_pages(folder):
            print(path)
        return
    if not arguments.files:
        raise CtmarError("add needs at least one summary.json or file of --json, got none")
    if arguments.name and len(arguments.files) > 1:
        raise CtmarError(f"--name is of one result, got {len(arguments.files)} files")
    found = [
        kept(folder, path, arguments.name, arguments.title, arguments.protocol) for path in arguments.files
    ]
    for name, record in found:
        print(write_record(folder, name, record))


def write_pages(folder: Path) -> list[Path]:
    """Writes every page of the records in ``FOLDER/data`` and the marked tables of pages beside the folder.

    Pages whose record is gone are removed.

    Returns:
        What was written and removed.

    Raises:
        CtmarError: There is no record, or a file is none.
    """
    records = read_records(folder)
    if not records:
        raise CtmarError(f"{folder / 'data'} must hold a record, got none; add keeps one")
    texts = written(folder, records)
    changed = [p for p, text in texts.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    for path in changed:
        write_text(path, texts[path])
    gone = [p for p in sorted(folder.glob("*.md")) if p.stem not in records and p.stem != INDEX]
    for path in gone:
        path.unlink()
    return changed + gone


def kept(folder: Path, path: Path, name: str = "", title: str = "", protocol: str = "") -> tuple[str, Record]:
    """The record of a result, by its name.

    Title, protocol and notes stay those of the record that it replaces, where none are given.

    Args:
        folder: Where records are kept.
        path: ``summary.json`` or a script's file.
        name: Of the record; empty for what the file says, or its benchmark's.
        title: Of the page.
        protocol: How it was measured.

    Raises:
        CtmarError: No result, or one that nothing names.
    """
    content = read_json(path)
    if isinstance(content, dict) and "methods" in content and "num_cases" in content:
        record, own = _of_summary(path, content), str(content.get("benchmark", {}).get("name", ""))
    else:
        record, own = as_record(content, path.name), str(content.get("name", ""))
    name = name or own
    if not name:
        raise CtmarError(f"--name must say what the record of {path} is called")
    before = read_records(folder).get(name)
    if before is not None:
        title, protocol = title or before.title, protocol or record.protocol or before.protocol
        record = replace(record, notes=record.notes or before.notes)
    made = replace(record.made, command=_without_places(record.made.command))
    record = replace(record, made=made, title=title or record.title or name)
    return name, replace(record, protocol=protocol or record.protocol)


def _of_summary(path: Path, summary: dict[str, Any]) -> Record:
    """The record of an evaluation, without a title of its own."""
    beside = path.with_name(MADE)
    if not beside.is_file():
        raise CtmarError(
            f"beside {path} there must be {MADE}, which a run of this version writes; there is none"
        )
    known = read_json(beside)
    made = as_record({"schema": 1, "title": "", "made": known, "tables": []}, MADE).made
    if "judges" in summary:
        return Record("", made, detection_tables(summary), protocol=str(known.get("protocol", "")))
    cases = path.with_name("cases.csv")
    if not cases.is_file():
        raise CtmarError(f"beside {path} there must be cases.csv, of which the intervals are; there is none")
    return Record(
        "", made, evaluation_tables(summary, read_cases(cases)), protocol=str(known.get("protocol", ""))
    )


def _without_places(command: str) -> str:
    """The command without this machine's folders: the last part of each path stays."""

    def short(found: re.Match[str]) -> str:
        parts: Sequence[str] = [part for part in re.split(r"[/\\]", found.group()) if part]
        return parts[-1] if parts else "."

    return PLACE.sub(short, command)
