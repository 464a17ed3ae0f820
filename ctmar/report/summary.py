"""Rows of cases and methods into what a reader needs: means, spreads, differences and groups."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctmar.metrics import CASE_METRICS, paired_bootstrap
from ctmar.metrics.aapm import SCORE, anchors, score
from ctmar.metrics.statistics import SIZE_GROUPS_MM2

BASELINES = ("uncorrected", "li", "nmar")
"""Methods that every other is compared with, case by case, where they took part."""

COMPARED = ("rmse_hu_near", "rmse_hu_body", SCORE)
"""Metrics of which differences and groups are given, and the user's own besides."""

ALLOYS = "screws_by_alloy"
GROUPS = ("part", "metal_size", "materials", "kind", ALLOYS)
"""Facts of a case by which the metrics in :data:`COMPARED` are told apart; screws by part and alloy too."""

NO_METHOD = "clean"
NO_METHODS = (NO_METHOD, "limit")
"""Rows that look at the truth: none of them can be the best method."""

Row = dict[str, Any]


def summarise(rows: list[Row], own: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of cases and methods into the summary, schema 1.

    NaN (nothing to measure) is left out of a metric and of its ``n``; where that leaves nothing,
    or a figure is infinite (the PSNR of equal images), the JSON holds null. The rows get their
    ``aapm_score``, whose anchors are means over all of them.

    Args:
        rows: As in ``cases.csv``.
        own: Metrics in them that are not this package's.

    Returns:
        ``methods`` with ``mean``, ``std``, ``median``, ``n`` by metric; ``differences`` to the baselines
        with paired bootstrap intervals; ``groups`` of cases; ``aapm``: the anchors, and which metrics
        were dropped and why; ``changes_untouched_rays``: the methods whose images nothing binds to the rays
        that missed the metal; ``cases_without_near_region``; ``own_metrics``, where there are any.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    metrics, compared = [*CASE_METRICS, *own], [*COMPARED, *own]
    scale, dropped = anchors(rows)
    for row in rows:
        row[SCORE] = score(row, scale)
    by_method = {name: [row for row in rows if row["method"] == name] for name in names}
    changes = [row["off_trace_max_abs_change"] for row in rows if row["method"] != NO_METHOD]
    scored = [change for change in changes if not math.isnan(change)]
    without = [row["case_id"] for row in by_method[names[0]] if row["near_pixels"] == 0]
    return {
        "schema": 1,
        "num_cases": len(by_method[names[0]]),
        "off_trace_max_abs_change": max(scored, default=0.0),
        "methods": {
            name: {metric: _spread([row[metric] for row in theirs]) for metric in metrics}
            for name, theirs in by_method.items()
        },
        "differences": _differences(by_method, compared),
        "groups": {fact: _groups(rows, names, fact, compared) for fact in GROUPS},
        "aapm": {"anchors": {name: list(pair) for name, pair in scale.items()}, "dropped": dropped},
        "images_alone": sorted({r["method"] for r in rows if math.isnan(r["off_trace_max_abs_change"])}),
        "changes_untouched_rays": sorted({r["method"] for r in rows if r.get("changes_untouched_rays")}),
        "cases_without_near_region": without,
    } | ({"own_metrics": list(own)} if own else {})


def _differences(by_method: dict[str, list[Row]], compared: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``METHOD - BASELINE`` by metric: mean, 95 % interval and number of cases."""
    found: dict[str, dict[str, Any]] = {}
    methods = [name for name in by_method if name != NO_METHOD]
    for metric in compared:
        values = {name: [row[metric] for row in by_method[name]] for name in methods}
        pairs = [(a, b) for b in BASELINES if b in values for a in methods if a != b]
        pairs = [(a, b) for a, b in pairs if not (a in BASELINES and BASELINES.index(a) < BASELINES.index(b))]
        found[metric] = {
            f"{a} - {b}": {k: _finite(v) for k, v in paired_bootstrap(values[a], values[b])._asdict().items()}
            for a, b in pairs
        }
    return found


def _groups(rows: Sequence[Row], names: Sequence[str], fact: str, compared: Sequence[str]) -> dict[str, Any]:
    """The compared metrics by group and method, groups by name, sizes by size."""
    order = {name: n for n, name in enumerate(SIZE_GROUPS_MM2)}
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(_fact(row, fact), []).append(row)
    return {
        group: {
            name: {m: _spread([row[m] for row in parts[group] if row["method"] == name]) for m in compared}
            for name in names
        }
        for group in sorted(parts, key=lambda name: (order.get(name, 0), name))
        if group
    }


def _fact(row: Row, fact: str) -> str:
    """A fact of the row's case, empty where it has none."""
    if fact != ALLOYS:
        return str(row.get(fact, ""))
    known = row.get("kind") == "realistic" and row.get("materials")
    return f"{row.get('part') or 'screws'}, {row['materials']}" if known else ""


def _spread(values: list[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation over the cases, median and count of what is not NaN."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return {"mean": None, "std": None, "median": None, "n": 0}
    with np.errstate(invalid="ignore"):  # inf - inf in the deviation of infinite PSNRs
        figures = {"mean": known.mean(), "std": known.std(), "median": np.median(known)}
    return {key: _finite(value) for key, value in figures.items()} | {"n": int(known.size)}


def _finite(value: float) -> float | int | None:
    if isinstance(value, int):
        return value
    return float(value) if np.isfinite(value) else None


def as_csv(rows: Sequence[Row]) -> str:
    """One line a row, the first row's keys as heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
