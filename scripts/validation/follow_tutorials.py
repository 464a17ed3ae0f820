"""Follows the tutorials, tables what their runs measure: ``scripts/validation/follow_tutorials.py [PAGE]``.

Each page of ``docs/tutorials`` from its first block to its last, as a reader does, in a folder of its own;
each notebook there from its first cell to its last, by a plain interpreter. Then the near-metal RMSE of every
method in every ``evaluation/summary.json`` that is there, and what else the pages tell of it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctmar.data.fingerprint import fingerprint
from ctmar.errors import CtmarError
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Cell, Table, write_measured
from ctmar.report.result_pages import markdown

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python|yaml)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHERS = {"bias_hu_near": "near bias, HU", "ssim_soft": "SSIM soft"}
"""Metrics beside the error near metal that a page tells of, and a user's own."""
NEAR = "near_rmse_hu"
"""What a notebook calls its errors near metal, by method."""
KEPT = f"import json\nopen('{NEAR}.json', 'w').write(json.dumps({NEAR}))\n"


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file that the block goes to, and text of each block that a reader is to use.

    A notebook is one block of all its cells, which leaves its errors near metal in a file.
    """
    if page.startswith("{"):
        return [("python", "", "\n".join([*cells(page), KEPT]))]
    return BLOCK.findall(page)


def cells(notebook: str) -> list[str]:
    """The code of a notebook, cell by cell."""
    found = json.loads(notebook)["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


PAGES = [
    path
    for path in sorted((ROOT / "docs" / "tutorials").iterdir())
    if path.suffix in (".md", ".ipynb") and blocks(path.read_text(encoding="utf-8"))
]


def commands(page: str, work: Path) -> Iterator[list[str]]:
    """Writes a page's files into ``work`` as they come, and yields what is to be run, block by block.

    A block is run from a hidden file there: as an argument its letters would have to be the locale's.
    """
    for number, (language, file, text) in enumerate(blocks(page)):
        if file:
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).write_text(text, encoding="utf-8")
        elif language == "yaml":
            raise CtmarError(f"a config must be written to a file: {text}")
        else:
            block = work / f".block-{number}"
            block.write_text(text, encoding="utf-8")
            yield ["bash", "-eu", str(block)] if language == "sh" else [sys.executable, str(block)]


def reader() -> dict[str, str]:
    """What a reader's environment has more: ctmar installed, and nothing of wandb's online."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "MPLBACKEND": "Agg"}
    return own | {"PYTHONIOENCODING": "utf-8"}


def measured(tutorial: str, work: Path) -> list[tuple[str, str, str, str, float]]:
    """Tutorial, run, method, metric and mean of every summary under a folder, or of what a notebook left."""
    rows: list[tuple[str, str, str, str, float]] = []
    for path in sorted(work.rglob("evaluation/summary.json")):
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted = ["rmse_hu_near", *OTHERS, *summary.get("own_metrics", ())]
        for method, metrics in summary["methods"].items():
            for metric in wanted:
                mean = metrics.get(metric, {}).get("mean")
                if mean is not None:
                    rows.append((tutorial, path.parents[1].name, method, metric, float(mean)))
    left = work / f"{NEAR}.json"
    if not rows and left.is_file():
        errors = json.loads(left.read_text(encoding="utf-8"))
        rows = [(tutorial, "cells", method, "rmse_hu_near", float(mean)) for method, mean in errors.items()]
    return rows


def follow(page: Path) -> list[tuple[str, str, str, str, float]]:
    """Follows a page in an empty folder.

    Raises:
        CtmarError: A block that ends with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for command in commands(page.read_text(encoding="utf-8"), work):
            ended = subprocess.run(
                command, cwd=work, env=os.environ | reader(), check=False, capture_output=True, text=True
            )
            if ended.returncode:
                raise CtmarError(f"{page.name} must run from top to bottom, got: {ended.stderr[-2000:]}")
        return measured(page.stem, work)


def tables(
    rows: Sequence[tuple[str, str, str, str, float]], seconds: Mapping[str, float] | None = None
) -> list[Table]:
    """The error near metal by tutorial, run and method; the other metrics; how long each tutorial took."""
    near: list[list[Cell]] = [[*row[:3], row[4]] for row in rows if row[3] == "rmse_hu_near"]
    others: list[list[Cell]] = [
        [row[0], row[1], OTHERS.get(row[3], row[3]), row[2], row[4]]
        for row in rows
        if row[3] != "rmse_hu_near"
    ]
    columns = ["tutorial", "run", "method", "near RMSE, HU"]
    times: list[list[Cell]] = [[name, taken / 60] for name, taken in (seconds or {}).items()]
    found = [
        Table("Near-metal RMSE by run", columns, near, ["", "", "", ".1f"]),
        Table(
            "Other figures by run",
            ["tutorial", "run", "metric", "method", "figure"],
            others,
            ["", "", "", "", ".4g"],
        ),
        Table("Time from first block to last", ["tutorial", "min"], times, ["", ".1f"]),
    ]
    return [table for table in found if table.rows]


def main() -> int:
    """Prints the tables; 2 where a page does not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="names of tutorials (default: all)")
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    known = {page.stem: page for page in PAGES}
    if unknown := [name for name in given.pages if name not in known]:
        parser.error(f"PAGE must be one of {', '.join(known)}, got {unknown[0]!r}")
    rows: list[tuple[str, str, str, str, float]] = []
    seconds: dict[str, float] = {}
    try:
        for name in given.pages or known:
            print(f"following {name}", file=sys.stderr, flush=True)
            started = time.monotonic()
            rows += follow(known[name])
            seconds[name] = time.monotonic() - started
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = tables(rows, seconds)
    print("\n\n".join(markdown(table) for table in found))
    if given.json is not None:
        made = made_now(command_line(), "the tutorials' own cases, small ones", fingerprint({}))
        words = "each tutorial from its first block to its last in an empty folder"
        write_measured(given.json, "tutorials", "What the tutorials measure", made, found, words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
