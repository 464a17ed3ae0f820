"""Whether ctmar installs beside other programs: ``scripts/validation/resolve_beside.py [PROGRAM …]``.

pip resolves each program by itself and again with this checkout, from nothing and without installing. The
table has what ctmar moved: packages that the program alone would have had in another version. A row that
names one, or a resolution that fails, ends with exit status 1. The package index must be at hand.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ctmar.data.fingerprint import fingerprint
from ctmar.errors import CtmarError, flat
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Cell, Table, write_measured
from ctmar.report.result_pages import markdown

ROOT = Path(__file__).parents[2]
PROGRAMS = ("TotalSegmentator", "nnunetv2", "deepinv", "torchio")
COLUMNS = ("program", "version", "packages alone", "packages with ctmar", "moved by ctmar")
LIMIT_S = 900


def resolved(*requirements: str) -> dict[str, str]:
    """Versions by name that pip would install for these requirements in an empty environment.

    Raises:
        CtmarError: They do not resolve, or not in time.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [*pip, "--ignore-installed", "--report", str(report), *requirements]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise CtmarError(f"{' '.join(requirements)} must resolve within {LIMIT_S} s") from None
        if done.returncode:
            said = flat(done.stderr)[-200:]
            raise CtmarError(f"{' '.join(requirements)} must resolve, pip says: {said}")
        return versions(json.loads(report.read_text(encoding="utf-8")))


def versions(report: Mapping[str, Any]) -> dict[str, str]:
    """Versions by name of an installation report of pip's."""
    packages = (item["metadata"] for item in report["install"])
    return {canonicalize_name(one["name"]): one["version"] for one in packages}


def moved(alone: Mapping[str, str], together: Mapping[str, str]) -> list[str]:
    """What another requirement changed of a program's own packages: ``name old → new``, or ``name gone``."""
    different = [name for name in sorted(alone) if together.get(name) != alone[name]]
    return [f"{name} {alone[name]} → {together.get(name, 'gone')}" for name in different]


def row(program: str, alone: Mapping[str, str], together: Mapping[str, str]) -> list[Cell]:
    """One row of the table."""
    changes = ", ".join(moved(alone, together)) or "nothing"
    return [program, alone[canonicalize_name(program)], len(alone), len(together), changes]


def main(arguments: Sequence[str] | None = None) -> int:
    """Resolves, prints the table, and writes it where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"default: {' '.join(PROGRAMS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the table as a record")
    asked = parser.parse_args(arguments)
    programs = asked.programs or PROGRAMS
    try:
        rows = [row(name, resolved(name), resolved(name, str(ROOT))) for name in programs]
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = Table("Beside other programs", COLUMNS, rows)
    print(markdown(table))
    if asked.json:
        made = made_now(command_line(), " ".join(programs), fingerprint({"programs": list(programs)}))
        words = (
            "each program resolved by pip in an empty environment, alone and with ctmar; nothing installed"
        )
        write_measured(asked.json, "beside", "ctmar beside other programs", made, [table], words)
    return int(any(cells[-1] != "nothing" for cells in rows))


if __name__ == "__main__":
    sys.exit(main())
