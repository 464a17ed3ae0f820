"""A page to look at a correction: what was done, and slices before, after and their difference.

One file without any reference to the outside; the pixels travel in it and are drawn by the script.
"""

import base64
import html
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.clinical.process import Shown
from ctmar.metrics import SHELLS_MM
from ctmar.report.page import page

LARGEST_SIDE = 384
"""Images are shown with every second, third … pixel where they are larger than this."""
STEP_HU = 4
"""Steps in which the page holds HU: below every display's."""
OFFSET_HU = 4096

VIEWER = Path(__file__).with_name("viewer.html")


def correction_page(record: Mapping[str, Any], shown: Sequence[Shown]) -> str:
    """The page of one correction.

    Args:
        record: As in ``correction.json``.
        shown: Slices to look at, of one shape; none for none.

    Returns:
        HTML.
    """
    parts = [
        "<p><b>Not a medical device.</b> Read the corrected images beside the original ones.</p>",
        f"<p>{record['slices_corrected']} of {record['slices']} slices corrected by"
        f" {html.escape(record['method'])}, {record['slices'] - record['slices_corrected']} hold the same"
        f" values as before. Metal: above {record['rule']['high_hu']:.0f} HU, connected down to"
        f" {record['rule']['low_hu']:.0f} HU; its pixels, and what lies outside the reconstruction circle,"
        " are as they were.</p>",
        *(_viewer(shown, record["slices"]) if shown else ["<p>No metal was found: nothing to show.</p>"]),
        "<h2>Change by distance from metal</h2>",
        _change_table(record),
        "<h2>Notes</h2>",
        "<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in _notes(record)) + "</ul>",
        "<h2>Slices</h2>",
        _slice_table(record),
    ]
    return page("ctmar correction", parts)


def _notes(record: Mapping[str, Any]) -> list[str]:
    notes = list(record["notes"])
    if record["clipped"]:
        notes.append(f"values are cut off at {record['range_hu'][1]:.0f} HU")
    if record["truncated"]:
        notes.append(f"the field of view cuts the body in {record['truncated']} corrected slices")
    return notes or ["none"]


def _change_table(record: Mapping[str, Any]) -> str:
    names = record["rms_change_hu"]
    head = "".join(f"<th>{_shell(name)}</th>" for name in names)
    cells = "".join(f"<td>{_figure(value)}</td>" for value in names.values())
    streaks = record["ring_streaks_hu"]
    ring = (
        f"<p>Streaks in soft tissue within 60 mm of metal (spread of the high-passed image, no truth needed):"
        f" {_figure(streaks['before'])} HU before, {_figure(streaks['after'])} after, fewer in"
        f" {streaks['fewer']} of {streaks['slices']} slices measured.</p>"
    )
    return f"<table><tr><th>RMS, HU</th>{head}</tr><tr><td>in the body</td>{cells}</tr></table>{ring}"


def _slice_table(record: Mapping[str, Any]) -> str:
    rows = []
    for entry in record["by_slice"]:
        streaks = entry["ring_streaks_hu"] or (None, None)
        values = [
            entry["metal_mm2"],
            *(entry["rms_change_hu"].get(n) for n in record["rms_change_hu"]),
            *streaks,
        ]
        rows.append(f"<tr><td>{entry['slice']}</td>{''.join(f'<td>{_figure(v)}</td>' for v in values)}</tr>")
    names = [f"RMS {_shell(name)}" for name in record["rms_change_hu"]]
    head = ["slice", "metal mm²", *names, "streaks before", "after"]
    return f"<table><tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr>{''.join(rows)}</table>"


def _shell(name: str) -> str:
    """A shell's name for a reader."""
    low, high = SHELLS_MM[name]
    return f"over {low:g} mm" if high == float("inf") else f"{low:g} to {high:g} mm"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _viewer(shown: Sequence[Shown], total: int) -> list[str]:
    step = -(-max(shown[0].before_hu.shape) // LARGEST_SIDE)
    rows, columns = shown[0].before_hu[::step, ::step].shape
    meta = {
        "rows": rows,
        "columns": columns,
        "step": STEP_HU,
        "offset": OFFSET_HU,
        "total": total,
        "slices": [{"slice": one.index + 1} for one in shown],
    }
    # Lone "<" would end the element; there is none in base64, and none in these numbers.
    data = [
        f'<script type="text/plain" id="pixels-{name}">{_packed(images)}</script>'
        for name, images in (
            ("before", [one.before_hu[::step, ::step] for one in shown]),
            ("after", [one.after_hu[::step, ::step] for one in shown]),
        )
    ]
    meta_tag = f'<script type="application/json" id="meta">{json.dumps(meta)}</script>'
    return [meta_tag, *data, VIEWER.read_text(encoding="utf-8")]


def _packed(images: Sequence[NDArray[np.float32]]) -> str:
    """HU in steps, each pixel as the difference to its left neighbour, deflated, as text."""
    levels = np.rint((np.stack(images).clip(-OFFSET_HU, 32000) + OFFSET_HU) / STEP_HU).astype(np.int16)
    levels[..., 1:] -= levels[..., :-1].copy()
    return base64.b64encode(zlib.compress(levels.astype("<i2").tobytes(), 6)).decode()
