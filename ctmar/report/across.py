"""One page across runs: a table with intervals, curves, and the same cases for every run side by side."""

import csv
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.metrics import bootstrap_mean, paired_bootstrap
from ctmar.report.canvas import DPI, black_figure, body_crop, paint_mask
from ctmar.report.page import DIFFERENCE_HU, PRESETS, image_tag, page, sentence, windows_bar
from ctmar.report.table import aligned, unbound_sentence
from ctmar.units import WINDOWS_HU

UNTOLD = (
    *("paths", "task_name", "logger", "callbacks", "extras", "trainer", "tags", "ckpt_path"),
    *("evaluation", "metric"),
)
"""Settings in which runs differ without being different experiments."""


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        folder: The run.
        rows: Of ``cases.csv``.
        config: Flat settings, ``model.lambda_l2`` and so on; empty where the run does not tell.
        curve: Epochs and validation losses; empty where there are none.
    """

    folder: Path
    rows: list[dict[str, str]]
    config: dict[str, Any] = field(default_factory=dict)
    curve: tuple[list[float], list[float]] = ((), ())  # type: ignore[assignment]

    def values(self, method: str, metric: str) -> dict[str, float]:
        """A metric of a method by case."""
        return {row["case_id"]: float(row[metric]) for row in self.rows if row["method"] == method}

    def unbound(self, method: str) -> bool:
        """Whether the method's image can change rays that missed the metal."""
        return any(
            row.get("changes_untouched_rays") == "True" for row in self.rows if row["method"] == method
        )

    @property
    def images(self) -> dict[str, Path]:
        """The cases whose images were kept."""
        return {path.stem: path for path in sorted((self.folder / "evaluation" / "images").glob("*.npz"))}


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs at or below the folders, in the order given (a sweep's folder stands for its runs).

    Raises:
        CtmarError: Where a folder holds none.
    """
    found: list[Run] = []
    for folder in folders:
        tables = sorted(Path(folder).glob("**/evaluation/cases.csv"), key=_natural)
        if not tables:
            raise CtmarError(
                f"a run must hold evaluation/cases.csv, got {str(folder)!r}, which has none in it"
            )
        found += [read_run(table.parent.parent) for table in tables]
    return found


def read_run(folder: Path) -> Run:
    """One run's results."""
    with (folder / "evaluation" / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    settings = folder / "evaluation" / "config.json"
    config = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    return Run(folder, rows, _flat(config), _curve(folder / "csv" / "metrics.csv"))


def _natural(path: Path) -> list[Any]:
    """Runs 2 and 10 of a sweep in that order."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        out |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return out


def _curve(path: Path) -> tuple[list[float], list[float]]:
    if not path.is_file():
        return [], []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/loss") and row.get("epoch")]
    return [float(row["epoch"]) for row in rows], [float(row["val/loss"]) for row in rows]


def labels(runs: Sequence[Run]) -> list[str]:
    """What tells each run from the others: the settings in which they differ, else the folder's name."""
    keys = sorted({key for run in runs for key in run.config if key.split(".")[0] not in UNTOLD})
    differing = [key for key in keys if len({json.dumps(run.config.get(key)) for run in runs}) > 1]
    if not differing or len(differing) > 6:
        return [run.folder.name for run in runs]
    shorts = {key: "λ" if key == "model.lambda_l2" else key.split(".")[-1] for key in differing}
    return [" ".join(f"{shorts[key]}={run.config.get(key)}" for key in differing) for run in runs]


def ordered(runs: Sequence[Run]) -> list[Run]:
    """Runs by λ where all have one and it differs; else as they came."""
    weights = [run.config.get("model.lambda_l2") for run in runs]
    if any(weight is None for weight in weights) or len(set(weights)) < 2:
        return list(runs)
    return sorted(runs, key=lambda run: float(run.config["model.lambda_l2"]))


def comparison_table(runs: Sequence[Run], method: str, metrics: Sequence[str]) -> list[list[str]]:
    """Cells of a table: each run's mean with its 95 % interval, and the paired difference to the first."""
    heading = ["run"] + [
        cell for metric in metrics for cell in (metric, "95 % interval", "to the first, paired")
    ]
    table = [heading]
    for run, label in zip(runs, labels(runs), strict=True):
        cells = [label]
        for metric in metrics:
            own, first = run.values(method, metric), runs[0].values(method, metric)
            common = [case for case in own if case in first]
            mean = bootstrap_mean(list(own.values()))
            paired = paired_bootstrap([own[c] for c in common], [first[c] for c in common])
            cells.append(f"{mean.mean:.4g} ({mean.n})")
            cells.append(f"{mean.low:.4g} to {mean.high:.4g}")
            cells.append(
                f"{paired.mean:+.3g} [{paired.low:+.3g}, {paired.high:+.3g}]" if run is not runs[0] else ""
            )
        table.append(cells)
    return table


def curves_figure(runs: Sequence[Run]) -> Figure | None:
    """Validation loss by epoch, one line a run; None where no run has any."""
    if not any(run.curve[0] for run in runs):
        return None
    figure = Figure(figsize=(8, 4), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for run, label in zip(runs, labels(runs), strict=True):
        if run.curve[0]:
            ax.plot(*run.curve, label=label, lw=1.2)
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("validation loss")
    ax.grid(alpha=0.25, which="both")
    ax.legend(fontsize=8)
    return figure


def contact_sheet(runs: Sequence[Run], method: str, preset: str, num_cases: int = 4) -> Figure | None:
    """The same cases, one row each, for every run side by side in one window.

    Columns are the metal-free reference, the uncorrected image, and the method of each run, in the
    order of the runs; None where no case's images are in all of them.

    Args:
        runs: The runs, sorted by what they are compared in.
        method: The method of each run that is shown.
        preset: A window of :data:`~ctmar.units.WINDOWS_HU`, or ``difference``.
        num_cases: Rows at most.
    """
    common = [case for case in runs[0].images if all(case in run.images for run in runs)][:num_cases]
    rows = [[_load(run.images[case]) for run in runs] for case in common]
    rows = [row for row in rows if all(f"image_{method}" in images for images in row)]
    if not rows:
        return None
    crops = [body_crop(row[0]["body"] | row[0]["metal"]) for row in rows]
    height, width = max((row[0]["reference"][crop].shape for row, crop in zip(rows, crops, strict=True)))
    names = ["reference", "uncorrected", *labels(runs)]
    figure, axes = black_figure(len(rows), len(names), height / width)
    for line, row, crop, case in zip(axes, rows, crops, common, strict=False):
        reference = row[0]["reference"].astype(np.float32)
        shown = [reference, row[0].get("image_uncorrected", reference)]
        shown += [images[f"image_{method}"] for images in row]
        for ax, name, image in zip(line, names, shown, strict=True):
            _show(ax, image.astype(np.float32)[crop], reference[crop], preset)
            paint_mask(ax, row[0]["metal"][crop])
            if ax in axes[0]:
                ax.set_title(name, color="white", fontsize=9)
        line[0].set_ylabel(case, color="white", fontsize=8)
    return figure


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _show(ax: Any, image: NDArray[Any], reference: NDArray[Any], preset: str) -> None:
    if preset == "difference":
        ax.imshow(image - reference, cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU)
    else:
        low, high = WINDOWS_HU[preset]
        ax.imshow(image, cmap="gray", vmin=low, vmax=high)


def across_page(runs: Sequence[Run], method: str, metrics: Sequence[str]) -> str:
    """The page: table, curves, contact sheet under every window."""
    table = comparison_table(runs, method, metrics)
    parts = [
        f"<p>{len(runs)} runs, method <b>{html.escape(method)}</b>. Intervals: 95 %, over resampled cases; "
        "differences are paired by case. They speak of cases, not of a population.</p>",
        _html_table(table),
    ]
    unbound = unbound_runs(runs, method)
    if unbound:
        parts.insert(1, f"<p><b>{html.escape(sentence(unbound))}</b></p>")
    curves = curves_figure(runs)
    if curves is not None:
        parts += ["<h2>Curves</h2>", image_tag(curves, "validation loss by epoch")]
    sheets = [(preset, contact_sheet(runs, method, preset)) for preset in PRESETS]
    if sheets[0][1] is not None:
        tags = [
            image_tag(sheet, f"contact sheet, {preset}", f'data-window="{preset}"{_on(preset)}')
            for preset, sheet in sheets
            if sheet is not None
        ]
        parts += ["<h2>The same cases for every run</h2>", windows_bar()]
        parts.append(f'<figure class="case">{"".join(tags)}</figure>')
    return page("ctmar: runs compared", parts)


def _on(preset: str) -> str:
    return ' class="on"' if preset == PRESETS[0] else ""


def _html_table(table: Sequence[Sequence[str]]) -> str:
    rows = [
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th", *["td"] * (len(table) - 1)], table, strict=True)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows[1:])
    return f"<table><thead><tr>{rows[0]}</tr></thead><tbody>{body}</tbody></table>"


def across_text(runs: Sequence[Run], method: str, metrics: Sequence[str]) -> str:
    """The table as plain text."""
    lines = aligned(comparison_table(runs, method, metrics))
    return "\n".join(lines + [text for text in (unbound_runs(runs, method),) if text])


def unbound_runs(runs: Sequence[Run], method: str) -> str:
    """One sentence on the runs whose images of the method can change untouched rays; empty without any."""
    told = [label for run, label in zip(runs, labels(runs), strict=True) if run.unbound(method)]
    return unbound_sentence([f"{method} of {label}" for label in told])
