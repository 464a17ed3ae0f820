"""The tables of a result page, from the summary of an evaluation or of a detection study."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctmar.metrics.statistics import bootstrap_mean, paired_share
from ctmar.report.detection import DOSES, UNCORRECTED
from ctmar.report.record import Cell, Table
from ctmar.report.summary import NO_METHODS

NAMES = {
    "uncorrected": "uncorrected",
    "li": "LI",
    "nmar": "NMAR",
    "fsnmar": "FSNMAR",
    "mbhc": "MBHC",
    "tv": "TV",
    "clean": "*metal-free acquisition*",
    "limit": "*photon limit*",
}
"""What a method is called on a page, where that is not its name."""
NEAR = "rmse_hu_near"
SHOWN: tuple[tuple[str, str, str], ...] = (
    ("body RMSE, HU", "rmse_hu_body", ".1f"),
    ("near bias, HU", "bias_hu_near", "+.1f"),
    ("SSIM soft", "ssim_soft", ".3f"),
    ("PSNR soft, dB", "psnr_soft", ".1f"),
    ("trace RMSE", "rmse_sinogram_trace", ".4f"),
    ("noise SD near metal, HU", "noise_sd_hu", ".1f"),
    ("sharpness, HU/mm", "sharpness_hu_mm", ".1f"),
    ("score", "aapm_score", ".2f"),
)
"""Heading, metric and format of the first table's columns behind the error near metal."""
FEW_CASES = 6
"""Up to so many are shown one by one."""

Rows = dict[str, dict[str, dict[str, str]]]
"""``cases.csv``: by method and case."""


def read_cases(path: Path) -> Rows:
    """The rows of ``cases.csv``."""
    found: Rows = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["method"], {})[row["case_id"]] = row
    return found


def evaluation_tables(summary: Mapping[str, Any], rows: Rows) -> list[Table]:
    """Of ``summary.json`` and the cases beside it: all that a page of an evaluation shows."""
    found = [
        _all(summary, rows),
        _parts(rows),
        _gains(rows),
        _alloys(summary),
        _protocols(summary),
        _each(summary, rows),
        _lesions(summary),
    ]
    return [table for table in found if table is not None]


def _values(rows: Rows, method: str, metric: str, part: str = "") -> list[float]:
    """A metric of a method's cases, NaN where there is none; of one part, or of all."""
    own = [row for row in rows[method].values() if part in ("", row.get("part", ""))]
    return [float(row[metric] or "nan") for row in own]


def _interval(values: Sequence[float]) -> Cell:
    found = bootstrap_mean(values)
    return [found.mean, found.low, found.high] if found.n else None


def _named(method: str) -> str:
    return NAMES.get(method, method)


def _all(summary: Mapping[str, Any], rows: Rows) -> Table:
    methods, own = summary["methods"], summary.get("own_metrics", ())
    shown = [
        entry for entry in SHOWN if any(m.get(entry[1], {}).get("mean") is not None for m in methods.values())
    ]
    shown += [(name, name, ".4g") for name in own]
    table = []
    for name, metrics in methods.items():
        means = [metrics.get(metric, {}).get("mean") for _, metric, _ in shown]
        table.append([_named(name), _interval(_values(rows, name, NEAR)), metrics[NEAR]["median"], *means])
    return Table(
        f"All {summary['num_cases']} cases",
        ["method", "near RMSE, HU", "median, HU", *(heading for heading, _, _ in shown)],
        table,
        ["", ".1f", ".1f", *(style for *_, style in shown)],
        "Near: in the body within 20 mm of metal, metal excluded, against the noise-free, metal-free"
        " reconstruction; mean over cases, 95 % interval. Score: AAPM-style, 0 the truth, 2 NMAR, 4"
        " no correction.",
    )


def _part_names(rows: Rows) -> list[str]:
    first = next(iter(rows.values()))
    return sorted({row.get("part", "") for row in first.values()} - {""})


def _parts(rows: Rows) -> Table | None:
    parts = _part_names(rows)
    if len(parts) < 2:
        return None
    first = next(iter(rows))
    counts = {part: len(_values(rows, first, NEAR, part)) for part in parts}
    table = [
        [_named(name), *(_interval(_values(rows, name, NEAR, part)) for part in (*parts, ""))]
        for name in rows
    ]
    return Table(
        "Near-metal RMSE by part",
        ["near RMSE, HU", *(f"{part.replace('_', ' ')} ({n}), HU" for part, n in counts.items()), "all, HU"],
        table,
        ["", *[".1f"] * (len(parts) + 1)],
    )


def _gains(rows: Rows) -> Table | None:
    methods = [name for name in rows if name not in ("nmar", *NO_METHODS)]
    if "nmar" not in rows or not methods:
        return None
    parts = [*(_part_names(rows) if len(_part_names(rows)) > 1 else []), ""]
    table = []
    for name in methods:
        pairs = [(_values(rows, "nmar", NEAR, part), _values(rows, name, NEAR, part)) for part in parts]
        table.append([_named(name), *(_share(*pair) for pair in pairs)])
    return Table(
        "Off NMAR's error near metal",
        ["method", *(f"{part.replace('_', ' ') or 'all'}, %" for part in parts)],
        table,
        ["", *[".0f"] * len(parts)],
        "By how much the mean lies below NMAR's, 95 % interval over resampled cases; negative where above.",
    )


def _share(base: Sequence[float], own: Sequence[float]) -> Cell:
    found = paired_share(base, own)
    return [100 * found.mean, 100 * found.low, 100 * found.high] if found.n else None


def _alloys(summary: Mapping[str, Any]) -> Table | None:
    groups = summary["groups"].get("screws_by_alloy", {})
    if len(groups) < 2:
        return None
    names = list(summary["methods"])
    table: list[list[Cell]] = [
        [f"{group.replace('_', ' ')} ({max(m[NEAR]['n'] for m in by.values())})"]
        + [by[name][NEAR]["mean"] for name in names]
        for group, by in groups.items()
    ]
    headings = [f"{_named(name)}, HU" for name in names]
    return Table(
        "Screws by alloy, near RMSE", ["screws (cases)", *headings], table, ["", *[".0f"] * len(names)]
    )


def _protocols(summary: Mapping[str, Any]) -> Table | None:
    metrics = next(iter(summary["methods"].values()))
    names = [key.removeprefix("psnr_") for key in metrics if key.startswith("psnr_")]
    if not names:
        return None
    table: list[list[Cell]] = []
    for method, found in summary["methods"].items():
        means = [[found[f"{kind}_{name}"]["mean"] for name in names] for kind in ("psnr", "ssim")]
        known = [value for value in means[0] if value is not None]
        both = [cell for pair in zip(*means, strict=True) for cell in pair]
        table.append([_named(method), *both, max(known) - min(known) if known else None])
    headings = [heading for name in names for heading in (f"PSNR `{name}`, dB", f"SSIM `{name}`")]
    return Table(
        "One image, every protocol",
        ["method", *headings, "spread, dB"],
        table,
        ["", *[".1f", ".3f"] * len(names), ".1f"],
        "Means over cases. Spread: between the protocols' PSNR of the same images.",
    )


def _each(summary: Mapping[str, Any], rows: Rows) -> Table | None:
    """Every case by the protocol in which a published set's figures are given."""
    protocol = summary.get("benchmark", {}).get("protocol")
    cases = list(next(iter(rows.values())))
    if protocol is None or len(cases) > FEW_CASES:
        return None
    table: list[list[Cell]] = []
    for name, own in rows.items():
        kept = [(own[case], kind) for case in cases for kind in ("psnr", "ssim")]
        cells = [float(row[f"{kind}_{protocol}"] or "nan") for row, kind in kept]
        table.append([_named(name), *cells])
    headings = [heading for case in cases for heading in (f"{case}: PSNR, dB", "SSIM")]
    return Table(
        f"Each case by the protocol `{protocol}`",
        ["image", *headings],
        table,
        ["", *[".2f", ".3f"] * len(cases)],
        "; ".join(summary["benchmark"].get("notes", [])) + ".",
    )


def _lesions(summary: Mapping[str, Any]) -> Table | None:
    study = summary.get("lesions")
    if not study or not study["methods"]:
        return None
    table = [
        [_named(name), *(100 * m[key] for key in ("missed", "false", "recovery")), _auc(m)]
        for name, m in study["methods"].items()
    ]
    sites = max(m["sites"] for m in study["methods"].values())
    return Table(
        "Planted lesions",
        ["method", "missed, %", "false, %", "contrast kept, %", "AUC"],
        table,
        ["", ".0f", ".0f", ".0f", ".2f"],
        f"{sites} discs of {study['radius_mm']:g} mm radius and {study['contrast_hu']:g} HU near metal;"
        f" missed and false by {study['threshold']:g} of the contrast; AUC of a channelised Hotelling"
        " observer, 95 % interval.",
    )


def _auc(figures: Mapping[str, Any]) -> Cell:
    known = [figures[key] for key in ("auc", "auc_low", "auc_high")]
    return known if None not in known else figures["auc"]


def detection_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Of a detection study's summary: means, the smallest contrasts, and every cell, by every judge."""
    judges = summary["judges"]
    means, lowest = [], []
    for name, metrics in summary["methods"].items():
        row: list[Cell] = [_judged(name, summary)]
        for says in judges.values():
            row += [_ends(says[name]["auc"]), _ends(says[name].get("delta_auc"))]
        means.append([*row, _ends(metrics.get("bias_hu"))])
        if name != UNCORRECTED:
            lowest.append(
                [_named(name), *(_ends(says[name]["delta_auc_lowest"]) for says in judges.values())]
            )
    headings = [heading for judge in judges for heading in (f"AUC, {judge}", f"ΔAUC, {judge}")]
    found = [
        Table(
            "Means over doses and contrasts",
            ["method", *headings, "bias, HU"],
            means,
            ["", *[".3f", "+.3f"] * len(judges), "+.1f"],
            "; ".join(summary["benchmark"]["notes"]) + ".",
        ),
        Table(
            "ΔAUC at the two smallest contrasts",
            ["method", *judges],
            lowest,
            ["", *["+.3f"] * len(judges)],
            f"AUC less that of {summary['baseline']}; clear of 0 where both ends of the interval are on one"
            " side.",
        ),
        *(_cells(summary, judge) for judge in judges),
    ]
    apart = summary.get("agreement")
    if apart:
        pairs: list[list[Cell]] = [[name, far] for name, far in apart["largest_difference"].items()]
        title = f"Largest difference of AUC in a cell to {apart['with']}"
        found.append(Table(title, ["judge", "AUC"], pairs, ["", ".3f"]))
    return found


def _cells(summary: Mapping[str, Any], judge: str) -> Table:
    names, dose = list(summary["methods"]), summary["dose"]
    by: dict[tuple[float, float], dict[str, Cell]] = {}
    for row in summary["cells"]:
        if row["judge"] == judge:
            place = by.setdefault((row[dose], row["contrast_hu"]), {})
            place[row["method"]] = [row["auc"], row["auc_low"], row["auc_high"]]
    table = [
        [f"{level:g}", f"{contrast:g}", *(own[n] for n in names)] for (level, contrast), own in by.items()
    ]
    return Table(
        f"AUC by {judge}",
        [DOSES.get(dose, dose), "contrast, HU", *(f"AUC, {_judged(name, summary)}" for name in names)],
        table,
        ["", "", *[".2f"] * len(names)],
    )


def _ends(figure: Mapping[str, float] | None) -> Cell:
    return None if figure is None else [figure["mean"], figure["low"], figure["high"]]


def _judged(name: str, summary: Mapping[str, Any]) -> str:
    return str(summary["baseline"]) if name == UNCORRECTED else _named(name)
