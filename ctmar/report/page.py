"""One self-contained HTML page a run: tables, distributions, cases to look at, settings, versions."""

import base64
import html
import io
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

import ctmar
from ctmar.report.canvas import METAL_COLOR, body_crop, plane, row_figure
from ctmar.report.figures import distribution_figure
from ctmar.report.summary import NO_METHODS
from ctmar.report.table import benchmark_text, columns_of, unbound_text
from ctmar.units import WINDOWS_HU

DIFFERENCE_HU = 200.0
PAGE_DPI = 84
PRESETS = (*WINDOWS_HU, "difference")
PACKAGES = ("torch", "numpy", "scipy", "monai", "pytorch-lightning", "numba")

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; margin: .6rem 0 } th, td { padding: .2rem .7rem; text-align: right }
th { border-bottom: 2px solid #888; font-weight: 600 } td:first-child, th:first-child { text-align: left }
tbody tr:nth-child(even) { background: #f4f4f4 } .best { font-weight: 700 } .note { color: #555 }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; font-size: 13px } figure { margin: 1rem 0 }
img { max-width: 100%; display: block } .case img { display: none } .case img.on { display: block }
.windows button { margin-right: .4rem; padding: .2rem .8rem; border: 1px solid #888; background: #fff }
.windows button.on { background: #1a1a1a; color: #fff } figcaption { font-weight: 600; margin-bottom: .3rem }
"""

SCRIPT = """
document.querySelectorAll('.windows button').forEach(b => b.onclick = () => {
  const w = b.dataset.window;
  document.querySelectorAll('[data-window]').forEach(e => e.classList.toggle('on', e.dataset.window === w));
});
"""


class Shown(Protocol):
    """A case to be looked at: why, the centre slice, its result."""

    @property
    def why(self) -> str:
        """The reason, empty for none."""

    @property
    def case(self) -> Any:
        """A batch of one case and slice."""

    @property
    def result(self) -> Any:
        """Its images and figures by method."""


def run_page(
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Shown],
    config: Mapping[str, Any],
) -> str:
    """The page of one run.

    Args:
        summary: As in ``summary.json``.
        rows: As in ``cases.csv``.
        pictures: Cases with their images, those of note first.
        config: The run's resolved settings; empty for none.

    Returns:
        HTML without any reference to the outside.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        part = str(row.get("part") or "all cases")
        values.setdefault(part, {}).setdefault(str(row["method"]), []).append(float(row["rmse_hu_near"]))
    distribution = distribution_figure(values, "near-metal RMSE, HU")
    off, unbound = summary["off_trace_max_abs_change"], unbound_text(summary)
    parts = [
        f"<p>{summary['num_cases']} cases. Errors in HU against the noise-free, metal-free reconstruction; "
        "near: in the body within 20 mm of metal, metal excluded. <b>Largest change of measured rays off "
        f"the metal trace: {off:g}</b> (0 is untouched, bit for bit) in the completed sinograms.</p>",
        *([f"<p><b>{html.escape(sentence(unbound))}</b></p>"] if unbound else []),
        metric_table(summary),
        "<h2>Distributions over cases</h2>",
        image_tag(distribution, "near-metal RMSE by method"),
        "<h2>Parts, protocols, differences, lesions</h2>",
        f"<pre>{html.escape(benchmark_text(summary))}</pre>",
        "<h2>Cases</h2>",
        windows_bar(),
        *(case_figure(shown) for shown in pictures),
        "<h2>Settings</h2>",
        f"<pre>{html.escape(json.dumps(config, indent=1))}</pre>",
        "<h2>Versions</h2>",
        f"<pre>{html.escape(versions())}</pre>",
    ]
    return page("ctmar evaluation", parts)


def page(title: str, parts: Sequence[str]) -> str:
    """HTML of a title and parts, with style and script inside."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )


def sentence(text: str) -> str:
    """A line of a table's footer as a sentence of a page."""
    return f"{text[:1].upper()}{text[1:]}."


def metric_table(summary: Mapping[str, Any]) -> str:
    """Means and deviations of the main metrics, one row a method; the best method of a column in bold.

    Whether more or less of a user's metric is better is not known: none is bold there.
    """
    columns = [("near RMSE", "rmse_hu_near", "{:.1f}"), *columns_of(summary)]
    methods = summary["methods"]
    own = summary.get("own_metrics", ())
    ceiling = summary.get("benchmark", {}).get("ceiling")
    shown = {name: metrics for name, metrics in methods.items() if name != ceiling}
    best = {key: None if key in own else _best(shown, key) for _, key, _ in columns}
    head = "".join(f"<th>{html.escape(title)}</th>" for title, _, _ in columns)
    body = []
    for name, metrics in methods.items():
        cells = [f"<td>{html.escape(name)}</td>"]
        for _, key, style in columns:
            mean, std = metrics[key]["mean"], metrics[key]["std"]
            text = "–" if mean is None else f"{style.format(mean)} ± {style.format(std or 0.0).lstrip('+')}"
            cells.append(f'<td class="{"best" if name == best[key] else ""}">{text}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th>method</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _best(methods: Mapping[str, Any], key: str) -> str | None:
    """The method whose mean is best; what looks at the truth is none."""
    larger = key.startswith(("ssim", "psnr"))
    means = {name: metrics[key]["mean"] for name, metrics in methods.items() if name not in NO_METHODS}
    known = {name: abs(mean) for name, mean in means.items() if mean is not None}
    return (max if larger else min)(known, key=lambda n: known[n]) if known else None


def windows_bar() -> str:
    """Buttons that change the window of every case at once."""
    labels = {name: f"{name} {low:.0f} … {high:.0f} HU" for name, (low, high) in WINDOWS_HU.items()}
    labels["difference"] = f"difference ± {DIFFERENCE_HU:.0f} HU"
    buttons = (
        f'<button data-window="{name}"{on}>{html.escape(labels[name])}</button>'
        for name, on in zip(PRESETS, (' class="on"', "", "", ""), strict=True)
    )
    return f'<p class="windows">{"".join(buttons)}</p>'


def case_figure(shown: Shown) -> str:
    """A case under every window, of which one shows at a time."""
    case, result = shown.case, shown.result
    images = {name: plane(name, image) for name, image in result.images_hu.items()}
    masks = [plane("mask", m[0, 0]).astype(bool) for m in (case.scan.metal_mask, case.truth.body_mask)]
    reference = plane("reference_hu", case.truth.reference_hu[0, 0])
    near = {name: rmse for name, rmse in result.near_rmse().items() if np.isfinite(rmse)}
    titles = {name: f"{name} {rmse:.0f} HU" for name, rmse in near.items()}
    tags = []
    for preset in PRESETS:
        strip = strip_figure(images, reference, masks[0], masks[1], preset, titles)
        on = preset == PRESETS[0]
        tags.append(
            image_tag(
                strip, f"{result.case_id}, {preset}", f'data-window="{preset}" class="{"on" if on else ""}"'
            )
        )
    why = f" — {shown.why}" if shown.why else ""
    caption = html.escape(f"{result.case_id}{why}")
    return f'<figure class="case"><figcaption>{caption}</figcaption>{"".join(tags)}</figure>'


def strip_figure(
    images: Mapping[str, NDArray[Any]],
    reference: NDArray[Any],
    metal: NDArray[np.bool_],
    body: NDArray[np.bool_],
    preset: str,
    titles: Mapping[str, str],
) -> Figure:
    """The reference and every image side by side in one window, or their differences to the reference."""
    columns = {"reference": reference, **images}
    crop = body_crop(body | metal)
    tiles = [colored(image[crop], reference[crop], metal[crop], preset) for image in columns.values()]
    return row_figure(tiles, [titles.get(name, name) for name in columns])


def colored(
    image: NDArray[Any], reference: NDArray[Any], metal: NDArray[np.bool_], preset: str
) -> NDArray[np.uint8]:
    """An image as it is shown under a preset, ``(row, column, RGB)``, its metal painted flat."""
    if preset == "difference":
        values, low, high, colors = image - reference, -DIFFERENCE_HU, DIFFERENCE_HU, colormaps["RdBu_r"]
    else:
        values, (low, high), colors = image, WINDOWS_HU[preset], colormaps["gray"]
    shown = colors(Normalize(low, high)(values), bytes=True)[..., :3]
    return np.where(metal[..., None], np.round(255 * np.array(METAL_COLOR)), shown).astype(np.uint8)


def image_tag(figure: Figure, alt: str, attributes: str = "") -> str:
    """The figure as an image inside the page."""
    stream = io.BytesIO()
    figure.set_dpi(PAGE_DPI)  # before the layout, or titles are cut
    # Measuring what a figure without a layout takes up would draw it twice for nothing.
    laid_out = figure.get_layout_engine() is not None
    tight: dict[str, Any] = {"pad_inches": 0.05, "bbox_inches": "tight"} if laid_out else {}
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor(), **tight)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img {attributes} alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def versions() -> str:
    """ctmar, Python and the packages that decide figures."""
    lines = [f"ctmar {ctmar.__version__}", f"python {platform.python_version()}"]
    return "\n".join(lines + [f"{name} {metadata.version(name)}" for name in PACKAGES])
