"""Runs side by side: ``ctmar compare RUN...``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ctmar.errors import CtmarError
from ctmar.jobs.arguments import COMPARED


def run(arguments: argparse.Namespace) -> None:
    """Writes one HTML page across runs and prints its table."""
    print(compare(arguments.runs, arguments.out, arguments.method, arguments.metrics))


def compare(folders: Sequence[Path], out: Path, method: str, metrics: Sequence[str] = COMPARED) -> str:
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
    from ctmar.files import write_text
    from ctmar.report.across import across_page, across_text, find_runs, ordered

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
