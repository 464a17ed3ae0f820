"""Pedicle axes of procedural spines against the truth: ``scripts/validation/measure_planner.py [BODIES]``."""

import argparse
import sys
from pathlib import Path

import numpy as np

from ctmar.anatomy.landmarks import find_pedicles
from ctmar.data.fingerprint import fingerprint
from ctmar.phantoms import build_spine, pedicle_truth
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Table, write_measured
from ctmar.report.result_pages import markdown

LEVELS = ("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")
SPACINGS = ((1.0, 1.0, 2.0), (0.8, 0.8, 2.5), (0.7, 0.7, 1.0), (1.5, 1.5, 3.0))
"""Voxels (x, y, z) in mm, one after the other."""


def errors(seed: int) -> list[tuple[str, float, float]]:
    """Level, angle in degrees and distance of the entry from the true line in mm, of every pedicle.

    A pedicle that was not found has infinite errors.
    """
    spacing = SPACINGS[seed % len(SPACINGS)]
    found = {(p.level, p.side): p for p in find_pedicles(build_spine(seed, LEVELS, spacing))}
    rows = []
    for (level, side), true in pedicle_truth(seed, LEVELS, spacing).items():
        if (level, side) not in found:
            rows.append((level, np.inf, np.inf))
            continue
        pedicle, axis = found[level, side], np.asarray(true.direction)
        angle = np.degrees(np.arccos(np.clip(axis @ np.asarray(pedicle.direction), -1, 1)))
        away = np.asarray(pedicle.entry_mm) - np.asarray(true.isthmus_mm)
        rows.append((level, float(angle), float(np.linalg.norm(away - (away @ axis) * axis))))
    return rows


def figures(bodies: int) -> Table:
    """A row a level and one for all."""
    rows = [row for seed in range(bodies) for row in errors(seed)]
    shown: list[list[str | float]] = []
    for level in (*LEVELS, "all"):
        part = np.array([row[1:] for row in rows if level in (row[0], "all")])
        whole = part[np.isfinite(part[:, 0])]
        found = [float(f(whole[:, k])) for k in (0, 1) for f in (np.median, _high, np.max)]
        shown.append([level, len(part), len(part) - len(whole), *found])
    return Table(
        "Pedicle axes against the truth",
        ["level", "pedicles", "not found"]
        + [
            f"{what} {of}"
            for what in ("axis error, degrees:", "entry error, mm:")
            for of in ("median", "95 %", "max")
        ],
        shown,
        ["", "", "", *[".2f"] * 6],
        "The entry error is the distance of the entry from the true axis's line.",
    )


def _high(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.95))


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bodies", nargs="?", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    if given.bodies < 1:
        parser.error("bodies must be 1 or more")
    found = figures(given.bodies)
    print(markdown(found))
    if given.json is not None:
        spacings = ", ".join(" × ".join(f"{x:g}" for x in spacing) for spacing in SPACINGS)
        cases = (
            f"{given.bodies} procedural spines, {LEVELS[0]} to {LEVELS[-1]}, voxels of {spacings} mm in turn"
        )
        made = made_now(command_line(), cases, fingerprint({"planner": given.bodies}))
        write_measured(given.json, "planner", "The planner against known axes", made, [found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
