"""A detection study as plain-text tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from ctmar.report.table import aligned

UNCORRECTED = "uncorrected"
DOSES = {"photons_per_ray": "photons a ray"}
"""How a table says what doses are counted in."""


def detection_text(summary: Mapping[str, Any]) -> str:
    """All that the study prints: means, cells, the smallest contrasts, and the judges beside each other."""
    about = summary["benchmark"]
    tables = [_cells(summary, judge) for judge in summary["judges"]]
    blocks = [_means(summary), *tables, _lowest(summary), _judges(summary)]
    return "\n\n".join([*(block for block in blocks if block), "\n".join(about["notes"])])


def _means(summary: Mapping[str, Any]) -> str:
    rows = [[f"judged by {summary['judge']}", "AUC", "95 %", "ΔAUC", "95 %", "bias HU", "95 %"]]
    for name, told in summary["methods"].items():
        difference = _both(told["delta_auc"], "+.3f") if "delta_auc" in told else ["-", "-"]
        bias = _both(told["bias_hu"], "+.1f") if "bias_hu" in told else ["-", "-"]
        rows.append([_named(name, summary), *_both(told["auc"]), *difference, *bias])
    return "\n".join(aligned(rows))


def _cells(summary: Mapping[str, Any], judge: str) -> str:
    """Every dose and contrast as one judge sees it."""
    names = list(summary["methods"])
    dose = summary["dose"]
    rows = [[f"AUC by {judge}: {DOSES.get(dose, dose)}, contrast", *(_named(n, summary) for n in names)]]
    told: dict[tuple[float, float], dict[str, Mapping[str, Any]]] = {}
    for row in (row for row in summary["cells"] if row["judge"] == judge):
        told.setdefault((row[dose], row["contrast_hu"]), {})[row["method"]] = row
    for (level, contrast), by in told.items():
        shown = [f"{by[n]['auc']:.2f} ({by[n]['auc_low']:.2f}–{by[n]['auc_high']:.2f})" for n in names]
        rows.append([f"{level:.3g}, {contrast:+g} HU", *shown])
    return "\n".join(aligned(rows))


def _lowest(summary: Mapping[str, Any]) -> str:
    """Whether a method is better than none where the lesion is hardest to see, by every judge."""
    rows = [["ΔAUC at the smallest contrasts", *summary["judges"]]]
    for name in summary["methods"]:
        if name != UNCORRECTED:
            rows.append(
                [name, *(_verdict(says[name]["delta_auc_lowest"]) for says in summary["judges"].values())]
            )
    return "\n".join(aligned(rows))


def _verdict(figure: Mapping[str, float]) -> str:
    mean, interval = _both(figure, "+.3f")
    word = "above 0" if figure["low"] > 0 else "BELOW 0" if figure["high"] < 0 else "NOT CLEAR OF 0"
    return f"{mean} ({interval}) {word}"


def _judges(summary: Mapping[str, Any]) -> str:
    judges = summary["judges"]
    if len(judges) < 2:
        return ""
    heading = ["AUC, ΔAUC by judge", *judges]
    rows: list[Sequence[str]] = [heading]
    for name in summary["methods"]:
        shown = []
        for says in judges.values():
            told = says[name]
            difference = f", {told['delta_auc']['mean']:+.3f}" if "delta_auc" in told else ""
            status = f" {told['status']}" if "status" in told else ""
            shown.append(f"{told['auc']['mean']:.3f}{difference}{status}")
        rows.append([_named(name, summary), *shown])
    agreement = summary["agreement"]
    apart = [f"{name} {far:.3f}" for name, far in agreement["largest_difference"].items()]
    last = f"largest difference of AUC to {agreement['with']} in a cell: {'; '.join(apart)}"
    return "\n".join([*aligned(rows), last])


def _both(figure: Mapping[str, float], style: str = ".3f") -> list[str]:
    return [format(figure["mean"], style), f"{figure['low']:{style}} to {figure['high']:{style}}"]


def _named(name: str, summary: Mapping[str, Any]) -> str:
    return str(summary["baseline"]) if name == UNCORRECTED else name
