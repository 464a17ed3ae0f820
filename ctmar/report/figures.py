"""Distributions over cases, for a person to see what a mean hides."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ctmar.report.canvas import DPI, save_figure

COLORS = ("#7f7f7f", "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2")


def distribution_figure(values: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> Figure:
    """A box and every case of each method, one plot a part, on a logarithmic axis.

    Args:
        values: By part and method, one value a case; NaN is left out.
        label: Of the axis.
    """
    figure = Figure(
        figsize=(max(3.2 * len(values), 5), 4.2), dpi=DPI, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
    rng = np.random.default_rng(0)
    for ax, (part, by_method) in zip(axes, values.items(), strict=True):
        names = list(by_method)
        known = [np.asarray([v for v in by_method[name] if np.isfinite(v)]) for name in names]
        ax.boxplot(known, showfliers=False, medianprops={"color": "black"}, widths=0.6)
        for place, own in enumerate(known, start=1):
            color = COLORS[(place - 1) % len(COLORS)]
            ax.plot(place + rng.uniform(-0.18, 0.18, len(own)), own, ".", color=color, alpha=0.6, ms=5)
        ax.set_xticks(range(1, len(names) + 1), names, rotation=35, ha="right", fontsize=8)
        ax.set_title(f"{part} ({max(map(len, known), default=0)})", fontsize=9)
        ax.set_yscale("log")
        ax.grid(axis="y", which="both", alpha=0.25)
    axes[0].set_ylabel(label)
    return figure


def render_distributions(table: Path, path: Path, metric: str = "rmse_hu_near") -> None:
    """Draws a metric of ``cases.csv`` by part and method."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        part = row.get("part") or "all cases"
        values.setdefault(part, {}).setdefault(row["method"], []).append(float(row[metric]))
    ordered = {part: values[part] for part in sorted(values)}
    label = "near-metal RMSE, HU" if metric == "rmse_hu_near" else metric
    save_figure(distribution_figure(ordered, label), path)
