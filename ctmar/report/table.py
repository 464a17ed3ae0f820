"""A summary of an evaluation as a plain-text table."""

from collections.abc import Mapping
from typing import Any

TABLE_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("body RMSE", "rmse_hu_body", "{:.1f}"),
    ("near bias", "bias_hu_near", "{:+.1f}"),
    ("SSIM soft", "ssim_soft", "{:.4f}"),
    ("PSNR soft", "psnr_soft", "{:.2f}"),
    ("trace RMSE", "rmse_sinogram_trace", "{:.4f}"),
)
"""Heading, metric and format of the table's columns after the near-metal RMSE."""


def format_table(summary: Mapping[str, Any]) -> str:
    """A plain-text table of a summary: one row a method; HU, dB, and ratios of means to ``uncorrected``."""
    methods = summary["methods"]
    base = methods.get("uncorrected", {})
    heading = ["method", "near RMSE", "median", "ratio", *(title for title, _, _ in TABLE_COLUMNS)]
    table = [heading]
    for name, metrics in methods.items():
        near = metrics["rmse_hu_near"]
        mean, spread = _show(near["mean"], "{:.1f}"), _show(near["std"], "{:.1f}")
        ratio = _ratio(near["mean"], base.get("rmse_hu_near", {}).get("mean"))
        cells = [name, f"{mean} ± {spread}", _show(near["median"], "{:.1f}"), ratio]
        table.append(cells + [_show(metrics[key]["mean"], style) for _, key, style in TABLE_COLUMNS])
    widths = [max(len(row[column]) for row in table) for column in range(len(heading))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.append(
        f"{summary['num_cases']} cases; HU; mean ± SD over cases; ratio of means to uncorrected; "
        f"largest change off the trace {summary['off_trace_max_abs_change']:g}" + _origin(summary)
    )
    if summary.get("cases_without_near_region"):
        lines.append("no pixel near metal in: " + ", ".join(summary["cases_without_near_region"]))
    return "\n".join(lines)


def _origin(summary: Mapping[str, Any]) -> str:
    """What the cases were made from, where the summary knows."""
    if summary.get("source", "unknown") == "unknown":
        return ""
    return f"; {summary['source']} sinograms, metal from {summary['metal_from']}"


def _show(value: float | None, style: str) -> str:
    return "-" if value is None else style.format(value)


def _ratio(value: float | None, base: float | None) -> str:
    return "-" if value is None or not base else f"{value / base:.3f}"
