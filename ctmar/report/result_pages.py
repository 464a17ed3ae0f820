"""Result pages: Markdown of records, an index of them, and tables between markers of other pages.

The same records give the same bytes. Nothing is written by hand: a test compares.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.report.record import Cell, Record, Table

INDEX = "index"
BLOCK = re.compile(r"(<!-- results: (\S+?)#(\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)
"""A place in another page: ``<!-- results: NAME#planted-lesions -->`` … ``<!-- /results -->`` holds the table
*Planted lesions* of NAME."""
WRITTEN = "<!-- Written by `ctmar results pages` from data/{}; a change by hand is lost. -->"
TRANSCRIBED = (
    "**Transcribed{until}.** These figures were copied once from this project's earlier prose of"
    " {date}{commit}; what was not kept then (hash, machine) is missing. "
)
AGAIN = (
    "The command below makes them anew; `FILE` is what it leaves: `evaluation/summary.json` of a run,"
    " `results.json` of a study, or what `--json` named."
)
NO_COMMAND = "They were measured while the code was written, and no one command makes them anew."


def pages(records: Mapping[str, Record]) -> dict[str, str]:
    """Every page by its file's name without suffix: one a record, and the index."""
    return {name: page(name, record) for name, record in records.items()} | {INDEX: index(records)}


def page(name: str, record: Record) -> str:
    """The page of a record."""
    made = record.made
    blocks = [WRITTEN.format(f"{name}.json"), f"# {record.title}"]
    if record.source == "transcribed":
        where = f" (commit {made.commit})" if made.commit else ""
        again = AGAIN if made.command else NO_COMMAND
        until = ", until the command is run again" if made.command else ""
        blocks.append(TRANSCRIBED.format(until=until, date=made.date, commit=where) + again)
    version = made.version + (f", commit {made.commit}" if made.commit else "")
    told = {
        "protocol": record.protocol,
        "cases": made.cases,
        "hash of the cases": f"`{made.hash}`" if made.hash else "not kept",
        "date": made.date,
        "ctmar": version,
        "machine": made.machine or "not kept",
    }
    blocks.append(_markdown(["", ""], [[key, value] for key, value in told.items() if value]))
    commands = _commands(name, record)
    if commands:
        blocks.append("\n".join(["```sh", *commands, "```"]))
    for table in record.tables:
        blocks += [f"## {table.title}", *([table.about] if table.about else []), markdown(table)]
    return "\n\n".join([*blocks, *record.notes]) + "\n"


def _commands(name: str, record: Record) -> list[str]:
    """What was typed, or is to be; of what is to be, also what keeps it."""
    found = [line for line in (*record.rerun, record.made.command) if line]
    return (
        [*found, f"ctmar results add FILE --name {name}"]
        if found and record.source == "transcribed"
        else found
    )


def index(records: Mapping[str, Record]) -> str:
    """The page that lists all others, and the commands that are still to be run."""
    rows = [
        [f"[{record.title}]({name}.md)", record.made.date, record.made.version, record.source]
        for name, record in sorted(records.items(), key=lambda pair: pair[1].title.lower())
    ]
    waiting = {n: r for n, r in sorted(records.items()) if r.source == "transcribed"}
    commands = [line for name, record in waiting.items() for line in _commands(name, record)]
    without = [f"[{r.title}]({name}.md)" for name, r in waiting.items() if not r.made.command]
    blocks = [
        WRITTEN.format("*.json"),
        "# Results",
        "*For whoever looks for a figure, or wants to measure it again.*",
        "Each figure of this project, one page a measurement: the command that made it, the cases and their"
        " hash, date and version. `ctmar results add FILE` keeps what a command measured"
        " (`evaluation/summary.json` of a run, a script's `--json`), `ctmar results pages` writes the pages."
        " Intervals are over resampled cases, 95 of 100 lie within; they speak of cases like these, not of a"
        " population.",
        _markdown(["page", "date", "ctmar", "source"], rows),
    ]
    if waiting:
        blocks += [
            "## To be run again",
            "What is *transcribed* was copied once from this project's earlier prose. These commands make it"
            " anew:",
            "\n".join(["```sh", *commands, "```"]),
        ]
    if without:
        blocks.append(f"No one command makes these anew: {', '.join(without)}.")
    names = "\n".join(sorted(records))
    blocks.append(f"```{{toctree}}\n:maxdepth: 1\n:hidden:\n\n{names}\n```")
    return "\n\n".join(blocks) + "\n"


def filled(text: str, records: Mapping[str, Record], to_results: str) -> str:
    """A page of others with its marked tables written anew.

    Args:
        text: The page.
        records: By name.
        to_results: The way from the page's folder to the results', as ``docs/results``.

    Raises:
        CtmarError: A marker that names no table.
    """

    def block(found: re.Match[str]) -> str:
        start, name, title, end = found.groups()
        record = records.get(name)
        table = next((t for t in record.tables if slug(t.title) == title), None) if record else None
        if record is None or table is None:
            raise CtmarError(f"a marker must name a record and one of its tables, got {name}#{title}")
        about = f"{record.made.date}, ctmar {record.made.version}, {record.source}"
        source = f"*[{record.title}]({to_results}/{name}.md); {about}.*"
        return f"{start}{markdown(table)}\n\n{source}\n{end}"

    return BLOCK.sub(block, text)


def slug(title: str) -> str:
    """A heading's anchor, as Markdown renderers make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def marked_pages(folder: Path) -> dict[Path, str]:
    """Pages beside the results' folder and below that hold markers, and the README above, by their text."""
    docs = folder.parent
    known = [docs.parent / "README.md", *sorted(docs.rglob("*.md"))]
    texts = {path: path.read_text(encoding="utf-8") for path in known if path.is_file()}
    return {p: text for p, text in texts.items() if BLOCK.search(text) and not p.is_relative_to(folder)}


def written(folder: Path, records: Mapping[str, Record]) -> dict[Path, str]:
    """Every file that follows from the records, by its path."""
    found = {folder / f"{name}.md": text for name, text in pages(records).items()}
    for path, text in marked_pages(folder).items():
        way = Path(os.path.relpath(folder, path.parent)).as_posix()
        found[path] = filled(text, records, way)
    return found


def markdown(table: Table) -> str:
    """A table in Markdown."""
    styles = table.styles or [""] * len(table.columns)
    rows = [[shown(cell, style) for cell, style in zip(row, styles, strict=True)] for row in table.rows]
    return _markdown(table.columns, rows)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    lines.insert(1, "|" + "---|" * len(columns))
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def shown(cell: Cell, style: str = "") -> str:
    """A cell as text: a mean with its interval behind it in brackets."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.replace("|", r"\|")
    if isinstance(cell, (int, float)):
        text = format(cell, style) if style else f"{cell:g}"
        return text.replace("-", "−")
    mean, low, high = (shown(value, style) for value in cell)
    return f"{mean} ({low} to {high})"
