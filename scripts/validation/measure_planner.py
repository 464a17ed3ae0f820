"""Pedicle axes of procedural spines against the truth: ``scripts/validation/measure_planner.py [BODIES]``."""

import sys

import numpy as np

from ctmar.anatomy.landmarks import find_pedicles
from ctmar.phantoms import build_spine, pedicle_truth

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


def main(bodies: int) -> None:
    """Prints a line a level and one for all."""
    rows = [row for seed in range(bodies) for row in errors(seed)]
    print(
        "level    n  missing  axis error, degrees        entry error, mm\n"
        + " " * 21
        + "median   95 %    max   " * 2
    )
    for level in (*LEVELS, "all"):
        part = np.array([row[1:] for row in rows if level in (row[0], "all")])
        whole = part[np.isfinite(part[:, 0])]
        figures = [f"{f(whole[:, k]):6.2f}" for k in (0, 1) for f in (np.median, _high, np.max)]
        print(f"{level:5} {len(part):4} {len(part) - len(whole):8}   " + " ".join(figures))


def _high(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.95))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
