"""A summary of an evaluation as a plain-text table."""

from collections.abc import Mapping, Sequence
from typing import Any

TABLE_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("body RMSE", "rmse_hu_body", "{:.1f}"),
    ("near bias", "bias_hu_near", "{:+.1f}"),
    ("SSIM soft", "ssim_soft", "{:.4f}"),
    ("PSNR soft", "psnr_soft", "{:.2f}"),
    ("trace RMSE", "rmse_sinogram_trace", "{:.4f}"),
    ("score", "aapm_score", "{:.2f}"),
)
"""Heading, metric and format of the table's columns after the near-metal RMSE."""


def columns_of(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The columns of a summary's table: :data:`TABLE_COLUMNS`, then the user's own metrics by name."""
    return [*TABLE_COLUMNS, *((name, name, "{:.4g}") for name in summary.get("own_metrics", ()))]


def format_table(summary: Mapping[str, Any]) -> str:
    """A plain-text table of a summary: one row a method; HU, dB, and ratios of means to ``uncorrected``."""
    methods = summary["methods"]
    base = methods.get("uncorrected", {})
    columns = columns_of(summary)
    heading = ["method", "near RMSE", "median", "ratio", *(title for title, _, _ in columns)]
    table = [heading]
    for name, metrics in methods.items():
        near = metrics["rmse_hu_near"]
        mean, spread = _show(near["mean"], "{:.1f}"), _show(near["std"], "{:.1f}")
        ratio = _ratio(near["mean"], base.get("rmse_hu_near", {}).get("mean"))
        cells = [name, f"{mean} ± {spread}", _show(near["median"], "{:.1f}"), ratio]
        table.append(cells + [_show(metrics[key]["mean"], style) for _, key, style in columns])
    lines = aligned(table)
    lines.append(
        f"{summary['num_cases']} cases; HU; mean ± SD over cases; ratio of means to uncorrected; "
        f"largest change off the trace {summary['off_trace_max_abs_change']:g}" + _origin(summary)
    )
    if summary.get("cases_without_near_region"):
        lines.append("no pixel near metal in: " + ", ".join(summary["cases_without_near_region"]))
    if summary.get("cases_without_labels"):
        count = summary["cases_without_labels"]
        lines.append(f"cases without tissue labels, and so without figures by tissue: {count}")
    if summary.get("images_alone"):
        lines.append("scored by their images alone: " + ", ".join(summary["images_alone"]))
    lines += [text for text in (unbound_text(summary),) if text]
    return "\n".join(lines)


def unbound_text(summary: Mapping[str, Any]) -> str:
    """One sentence on the methods whose images can change rays that missed the metal; empty without any."""
    names = summary.get("changes_untouched_rays", [])
    changed = {n: summary["methods"][n]["off_trace_rms_reprojected"]["mean"] for n in names}
    told = [n if (rms := changed[n]) is None else f"{n} (RMS {rms:.2g} reprojected)" for n in names]
    return unbound_sentence(told)


def unbound_sentence(methods: Sequence[str]) -> str:
    """The sentence, for methods by name; empty without any."""
    if not methods:
        return ""
    return f"images not bound to the measured rays, which they can change off the trace: {', '.join(methods)}"


def _origin(summary: Mapping[str, Any]) -> str:
    """What the cases were made from, where the summary knows."""
    if summary.get("source", "unknown") == "unknown":
        return ""
    return f"; {summary['source']} sinograms, metal from {summary['metal_from']}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the first a heading with a rule below; the first column to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return lines


def benchmark_text(summary: Mapping[str, Any]) -> str:
    """All that a benchmark prints: table, parts, protocols, order, differences, score's anchors, lesions."""
    about = summary.get("benchmark", {})
    blocks = [
        format_table(summary),
        group_text(summary, "part"),
        *(group_text(summary, "part", name, "{:.4g}") for name in summary.get("own_metrics", ())),
        group_text(summary, "metal_size"),
        alloy_text(summary),
        protocol_text(summary),
        published_text(summary),
        difference_text(summary),
        *(difference_text(summary, name, "{:+.4g}") for name in summary.get("own_metrics", ())),
        lesion_text(summary),
        order_text(summary),
    ]
    blocks += ["\n".join(about.get("notes", []))]
    dropped = summary["aapm"]["dropped"]
    blocks += ["aapm_score leaves out " + "; ".join(dropped)] if dropped else []
    blocks += [f"left out of {about['name']}: {line}" for line in about.get("left_out", [])]
    changed = about.get("changed_cases", [])
    if changed:
        blocks.append(
            f"{len(changed)} of {summary['num_cases']} cases are not the frozen ones of {about['name']} "
            f"({changed[0]} …): not to be compared with other versions' figures"
        )
    rescanned = about.get("rescanned_cases", [])
    if rescanned:
        blocks.append(
            f"{len(rescanned)} of {summary['num_cases']} cases are the frozen scenes of {about['name']}, "
            f"scanned otherwise ({rescanned[0]} …): not to be compared with figures of its own scanner"
        )
    return "\n\n".join(block for block in blocks if block)


def order_text(summary: Mapping[str, Any]) -> str:
    """Whether NMAR < LI < uncorrected in mean near-metal RMSE, over all cases and in each part."""
    lines = [_order("all cases", {n: m["rmse_hu_near"]["mean"] for n, m in summary["methods"].items()})]
    for part, methods in summary["groups"].get("part", {}).items():
        lines.append(_order(part, {n: m["rmse_hu_near"]["mean"] for n, m in methods.items()}))
    return "\n".join(line for line in lines if line)


def _order(where: str, means: Mapping[str, float | None]) -> str:
    order = [means.get(name) for name in ("nmar", "li", "uncorrected")]
    if any(value is None for value in order):
        return ""
    nmar, li, uncorrected = (float(value or 0) for value in order)
    verdict = "holds" if nmar < li < uncorrected else "DOES NOT HOLD"
    return f"{where}: nmar {nmar:.1f} < li {li:.1f} < uncorrected {uncorrected:.1f} HU {verdict}"


def group_text(
    summary: Mapping[str, Any], fact: str, metric: str = "rmse_hu_near", style: str = "{:.1f}"
) -> str:
    """Means of a metric by a fact of the cases: one row a method, one column a group."""
    groups = summary["groups"].get(fact, {})
    if len(groups) < 2:
        return ""
    names = list(summary["methods"])
    heading = [f"{metric} by {fact}"]
    heading += [f"{group} ({max(m[metric]['n'] for m in by.values())})" for group, by in groups.items()]
    rows = [[name, *(_show(by[name][metric]["mean"], style) for by in groups.values())] for name in names]
    return "\n".join(aligned([heading, *rows]))


def alloy_text(summary: Mapping[str, Any], metric: str = "rmse_hu_near") -> str:
    """Means of a metric for screws by part and alloy: one row a group, one column a method.

    Titanium lets enough photons through for no correction to be better than interpolation: the order of
    the methods is a matter of the alloy.
    """
    groups = summary["groups"].get("screws_by_alloy", {})
    if not groups:
        return ""
    names = list(summary["methods"])
    table = [[f"{metric} of screws by alloy", *names]]
    for group, by in groups.items():
        cases = max(m[metric]["n"] for m in by.values())
        table.append([f"{group} ({cases})", *(_show(by[name][metric]["mean"], "{:.1f}") for name in names)])
    return "\n".join(aligned(table))


def protocol_text(summary: Mapping[str, Any]) -> str:
    """PSNR and SSIM of the same images under every protocol, and how far apart the protocols lie."""
    names = [key.removeprefix("psnr_") for key in next(iter(summary["methods"].values())) if "psnr_" in key]
    rows = [["PSNR dB / SSIM", *names, "spread"]]
    for method, metrics in summary["methods"].items():
        psnr, ssim = ([metrics[f"{kind}_{n}"]["mean"] for n in names] for kind in ("psnr", "ssim"))
        cells = [f"{_show(p, '{:.1f}')} / {_show(s, '{:.3f}')}" for p, s in zip(psnr, ssim, strict=True)]
        known = [p for p in psnr if p is not None]
        rows.append([method, *cells, f"{max(known) - min(known):.1f} dB" if known else "-"])
    return "\n".join(aligned(rows))


def published_text(summary: Mapping[str, Any]) -> str:
    """PSNR and SSIM under the protocol in which a published set's figures are given, as papers print them."""
    protocol = summary.get("benchmark", {}).get("protocol")
    if protocol is None:
        return ""
    rows = [[f"as published: {protocol}", "PSNR dB", "SSIM"]]
    for method, metrics in summary["methods"].items():
        psnr, ssim = (metrics[f"{kind}_{protocol}"]["mean"] for kind in ("psnr", "ssim"))
        rows.append([method, _show(psnr, "{:.2f}"), _show(ssim, "{:.4f}")])
    return "\n".join(aligned(rows))


def difference_text(summary: Mapping[str, Any], metric: str = "rmse_hu_near", style: str = "{:+.1f}") -> str:
    """Paired differences to the baselines with their 95 % intervals."""
    found = summary["differences"].get(metric, {})
    rows = [
        [name, _show(d["mean"], style), f"{_show(d['low'], style)} to {_show(d['high'], style)}"]
        for name, d in found.items()
    ]
    return "\n".join(aligned([[f"{metric}, paired", "mean", "95 % interval"], *rows])) if rows else ""


def lesion_text(summary: Mapping[str, Any]) -> str:
    """The planted-lesion study: rates of missed and false ones, contrast kept, detectability."""
    study = summary.get("lesions")
    if not study or not study["methods"]:
        return ""
    heading = [f"lesions {study['radius_mm']:g} mm, {study['contrast_hu']:g} HU"]
    rows = [[*heading, "missed", "false", "contrast kept", "AUC", "95 % interval", "sites"]]
    for name, m in study["methods"].items():
        interval = f"{_show(m['auc_low'], '{:.2f}')} to {_show(m['auc_high'], '{:.2f}')}"
        shares = [f"{100 * m[key]:.0f} %" for key in ("missed", "false", "recovery")]
        rows.append([name, *shares, _show(m["auc"], "{:.2f}"), interval, str(m["sites"])])
    return "\n".join(aligned(rows))


def _show(value: float | None, style: str) -> str:
    return "-" if value is None else style.format(value)


def _ratio(value: float | None, base: float | None) -> str:
    return "-" if value is None or not base else f"{value / base:.3f}"
