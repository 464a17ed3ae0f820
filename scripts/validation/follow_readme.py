"""Runs the README's three commands, tables times and errors: ``scripts/validation/follow_readme.py [N ...]``.

Each in an empty folder of outputs, as it stands in the README's table; N are their numbers, from 1 on.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ctmar.data.fingerprint import fingerprint
from ctmar.errors import CtmarError
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Cell, Table, write_measured
from ctmar.report.result_pages import markdown

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^\| `(python [^`]+)` \|", re.MULTILINE)


def commands(readme: str) -> list[str]:
    """The commands in the table of the section *Three commands*."""
    return COMMAND.findall(readme.partition("## Three commands")[2].partition("\n## ")[0])


def timed(command: str) -> tuple[float, list[tuple[str, float]]]:
    """Minutes that a command takes, and the error near metal of each method in HU.

    Raises:
        CtmarError: A command that ends with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        ended = subprocess.run(
            [sys.executable, *shlex.split(command)[1:]],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "CTMAR_ROOT": folder},
            check=False,
            capture_output=True,
            text=True,
        )
        minutes = (time.monotonic() - started) / 60
        if ended.returncode:
            raise CtmarError(f"{command} must run, got: {ended.stderr[-2000:]}")
        (summary,) = Path(folder).rglob("evaluation/summary.json")
        methods = json.loads(summary.read_text(encoding="utf-8"))["methods"]
    return minutes, [(name, float(figures["rmse_hu_near"]["mean"])) for name, figures in methods.items()]


def main() -> int:
    """Prints the tables; 2 where a command does not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="which commands (default: all)")
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    known = dict(enumerate(commands((ROOT / "README.md").read_text(encoding="utf-8")), start=1))
    if unknown := [number for number in given.numbers if number not in known]:
        parser.error(f"N must be from 1 to {len(known)}, got {unknown[0]}")
    times: list[list[Cell]] = []
    errors: list[list[Cell]] = []
    try:
        for number in given.numbers or known:
            print(known[number], file=sys.stderr, flush=True)
            minutes, near = timed(known[number])
            times.append([f"`{known[number]}`", minutes])
            errors += [[f"`{known[number]}`", method, error] for method, error in near]
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = [
        Table("Time with an empty cache", ["command", "min"], times, ["", ".1f"]),
        Table("Near-metal RMSE", ["command", "method", "near RMSE, HU"], errors, ["", "", ".1f"]),
    ]
    print("\n\n".join(markdown(table) for table in found))
    if given.json is not None:
        made = made_now(command_line(), "those of each command", fingerprint({}))
        words = "each command of the README as it stands there, without real CT at hand"
        write_measured(given.json, "three-commands", "The README's commands", made, found, words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
