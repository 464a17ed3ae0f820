"""Runs side by side: ``python scripts/compare.py RUN...``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctmar.errors import CtmarError

METRICS = ("rmse_hu_near", "rmse_hu_body", "ssim_soft")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes one HTML page across runs and prints its table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ctmar compare", description="Compares runs case by case.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or of a sweep")
    parser.add_argument("--out", type=Path, default=Path("outputs/compare.html"), help="the page")
    parser.add_argument("--method", default="model", help="which method of each run (default: model)")
    parser.add_argument("--metrics", nargs="+", default=list(METRICS), help="columns of the table")
    given = parser.parse_args(arguments)
    try:
        print(compare(given.runs, given.out, given.method, given.metrics))
    except CtmarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(folders: Sequence[Path], out: Path, method: str, metrics: Sequence[str] = METRICS) -> str:
    """Writes the page to ``out``.

    Args:
        folders: Runs, or folders that hold some.
        out: Where the page goes.
        method: The method of each run that is compared.
        metrics: Columns of ``cases.csv``.

    Returns:
        The table as text, and where the page is.

    Raises:
        CtmarError: Where there is no run, or a run lacks the method or a metric.
    """
    from ctmar.report.across import across_page, across_text, find_runs, ordered
    from ctmar.report.canvas import write_text

    runs = ordered(find_runs(folders))
    for run in runs:
        methods = {row["method"] for row in run.rows}
        if method not in methods:
            raise CtmarError(
                f"method must be one of {', '.join(sorted(methods))} in {run.folder}, got {method!r}"
            )
        absent = [metric for metric in metrics if metric not in run.rows[0]]
        if absent:
            raise CtmarError(f"metrics must be columns of cases.csv, {run.folder} has no {absent[0]!r}")
    write_text(out, across_page(runs, method, metrics))
    return f"{across_text(runs, method, metrics)}\npage: {out}"
