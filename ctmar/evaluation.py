"""The one evaluation path: every method completes the same cases, is reconstructed and scored alike."""

import csv
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.metrics import IMAGE_METRICS, image_metrics, near_metal_mask, rmse
from ctmar.operators import RayTransform
from ctmar.report.table import format_table
from ctmar.sample import MARSample
from ctmar.units import mu_to_hu

__all__ = [
    "CLEAN",
    "METRICS",
    "CaseResult",
    "ImageMethod",
    "Method",
    "evaluate",
    "evaluate_case",
    "find_materials",
    "format_table",
    "off_trace_change",
    "summarise",
]

Method = Callable[[MARSample], Tensor]
"""Takes a batch of one case; returns the completed sinogram in the shape of ``measured``."""


@runtime_checkable
class ImageMethod(Protocol):
    """A method whose result is an image; that it may be callable too gives it a sinogram to score."""

    def image_hu(self, sample: MARSample) -> Tensor:
        """The centre slice's corrected image in HU, ``(1, 1, row, column)``."""
        ...


METRICS: tuple[str, ...] = (*IMAGE_METRICS, "rmse_sinogram_trace")
"""Every metric of the summary, in its order."""

CLEAN = "clean"
"""Name of the row that reconstructs the clean sinogram itself: the noise floor, not a method."""

PROGRESS_SECONDS = 5.0
"""At least this long between two lines of progress."""


@dataclass(frozen=True)
class CaseResult:
    """One case under every method.

    Attributes:
        case_id: The case's name.
        rows: The case's rows of ``cases.csv``, one a method, ``clean`` last.
        images_hu: The centre slice by method, HU, ``(row, column)``.
        completed: The centre slice's completed sinograms by method, ``(angle, detector)``; methods of
            images alone have none.
    """

    case_id: str
    rows: list[dict[str, Any]]
    images_hu: dict[str, Tensor]
    completed: dict[str, Tensor]

    def near_rmse(self) -> dict[str, float]:
        """Near-metal RMSE in HU by method."""
        return {row["method"]: row["rmse_hu_near"] for row in self.rows}


def evaluate(
    methods: Mapping[str, Method | ImageMethod],
    samples: Iterable[MARSample],
    ray: RayTransform,
    folder: Path,
    *,
    filter: str = "ram-lak",
    num_panels: int = 6,
    progress: bool = True,
) -> dict[str, Any]:
    """Scores methods on cases; writes ``summary.json``, ``cases.csv`` and ``panels/`` into ``folder``.

    Figures are those of the centre slice, against ``reference_hu``. Nothing is written before the
    last case is through, so that a run that fails leaves no half of a result.

    Args:
        methods: By the name in reports; ``clean`` is taken (:data:`CLEAN`).
        samples: Batches of one case each, of 1 or 3 slices.
        ray: The geometry of the cases' images and sinograms.
        folder: Where the results go; made if need be.
        filter: Of the FBP, as in :meth:`RayTransform.fbp`.
        num_panels: How many of the first cases are drawn.
        progress: Whether lines about progress go to standard error.

    Returns:
        The summary, as in ``summary.json``: per method and metric ``mean``, ``std`` (of the cases,
        not of the mean), ``median`` and ``n``, the number of cases it could be measured on.

    Raises:
        CtmarError: For no case, a batch of several, or a completion of another shape or not finite.
    """
    if CLEAN in methods:
        raise CtmarError(f"methods must not be named {CLEAN!r}: it is the row of the clean sinogram")
    results: list[CaseResult] = []
    pictures: list[tuple[MARSample, CaseResult]] = []
    report = _Progress(len(samples) if isinstance(samples, Sized) else None, progress)
    for sample in samples:
        result = evaluate_case(methods, sample, ray, filter)
        if len(pictures) < num_panels:
            pictures.append((sample.center(), result))
        results.append(CaseResult(result.case_id, result.rows, {}, {}))
        report.step()
    if not results:
        raise CtmarError("evaluation needs at least one case, got none")
    rows = [row for result in results for row in result.rows]
    for sample, result in pictures:
        _draw(sample, result, Path(folder) / "panels")
    summary = summarise(rows)
    _write(Path(folder) / "cases.csv", _as_csv(rows))
    _write(Path(folder) / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


@torch.no_grad()
def evaluate_case(
    methods: Mapping[str, Method | ImageMethod], sample: MARSample, ray: RayTransform, filter: str = "ram-lak"
) -> CaseResult:
    """Completes, reconstructs (all methods in one call) and scores one case; see :func:`evaluate`."""
    if sample.measured.shape[0] != 1 or len(sample.case_id) != 1:
        raise CtmarError(f"samples must be batches of one case, got {sample.measured.shape[0]}")
    completed = {
        name: _complete(name, method, sample) for name, method in methods.items() if callable(method)
    }
    completed[CLEAN] = sample.clean
    middle, center = sample.measured.shape[1] // 2, sample.center()
    sinograms = {name: sinogram[:, middle : middle + 1] for name, sinogram in completed.items()}
    images = _images(methods, sample, sinograms, ray, filter)
    spacing_mm = ray.grid.spacing_mm
    masks = center.metal_mask, center.body_mask
    scores = image_metrics(torch.cat(list(images.values())), center.reference_hu, *masks, spacing_mm)
    near_pixels = int(near_metal_mask(center.body_mask, center.metal_mask, spacing_mm).sum())
    facts = {
        "near_pixels": near_pixels,
        "metal_area_mm2": float(center.metal_mask.sum()) * spacing_mm**2,
        "materials": "+".join(sorted(find_materials(sample.parameters[0]))),
    }
    rows = [
        {"case_id": sample.case_id[0], "method": name}
        | {metric: float(figures[index, 0]) for metric, figures in scores.items()}
        | _sinogram_scores(name, completed, sinograms, sample)
        | facts
        for index, name in enumerate(images)
    ]
    return CaseResult(
        sample.case_id[0],
        rows,
        {name: image[0, 0] for name, image in images.items()},
        {name: sinogram[0, 0] for name, sinogram in sinograms.items()},
    )


def _images(
    methods: Mapping[str, Method | ImageMethod],
    sample: MARSample,
    sinograms: Mapping[str, Tensor],
    ray: RayTransform,
    filter: str,
) -> dict[str, Tensor]:
    """The centre slice by method, ``clean`` last: its own image, or the FBP of its sinogram."""
    stack = ray.fbp(torch.cat(list(sinograms.values())), filter=filter)
    found = dict(zip(sinograms, mu_to_hu(stack, float(sample.mu_water[0])).split(1), strict=True))
    expected = tuple(sample.center().reference_hu.shape)
    for name, method in methods.items():
        if not isinstance(method, ImageMethod):
            continue
        image = method.image_hu(sample)
        if tuple(image.shape) != expected or not bool(torch.isfinite(image).all()):
            raise CtmarError(
                f"method {name!r} must return a finite image of shape {expected}, "
                f"got {tuple(image.shape)} in {sample.case_id[0]}"
            )
        found[name] = image.to(stack)
    return {name: found[name] for name in (*methods, CLEAN)}


def _sinogram_scores(
    name: str, completed: Mapping[str, Tensor], sinograms: Mapping[str, Tensor], sample: MARSample
) -> dict[str, float]:
    """RMSE on the trace and the change off it; NaN for a method of images alone."""
    if name not in completed:
        return {"rmse_sinogram_trace": math.nan, "off_trace_max_abs_change": math.nan}
    center = sample.center()
    error = rmse(sinograms[name], center.clean, center.metal_trace)
    return {
        "rmse_sinogram_trace": float(error[0, 0]),
        "off_trace_max_abs_change": off_trace_change(completed[name], sample),
    }


def _complete(name: str, method: Method, sample: MARSample) -> Tensor:
    """A method's completion, held to its shape and to being finite."""
    completed = method(sample)
    case, expected = sample.case_id[0], tuple(sample.measured.shape)
    if tuple(completed.shape) != expected:
        raise CtmarError(
            f"method {name!r} must return a sinogram of shape {expected}, "
            f"got {tuple(completed.shape)} in {case}"
        )
    wrong = int((~torch.isfinite(completed)).sum())
    if wrong:
        raise CtmarError(f"method {name!r} must return finite line integrals, got {wrong} others in {case}")
    return completed.to(sample.measured)


def off_trace_change(completed: Tensor, sample: MARSample) -> float:
    """Largest absolute change off the metal trace in any slice, dimensionless; 0.0 is what is promised."""
    change = (completed.double() - sample.measured.double()).abs()
    return float(torch.where(sample.metal_trace, 0.0, change).max())


def find_materials(parameters: Any) -> set[str]:
    """Names under the keys ``material`` and ``materials`` at any depth of a case's parameters."""
    found: set[str] = set()
    if isinstance(parameters, Mapping):
        for key, value in parameters.items():
            if key in ("material", "materials"):
                found |= set(_names(value))
            else:
                found |= find_materials(value)
    elif isinstance(parameters, (list, tuple)):
        for value in parameters:
            found |= find_materials(value)
    return found


def _names(value: Any) -> list[str]:
    """The strings in a string, a list or the values of a mapping."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [name for part in value for name in _names(part)] if isinstance(value, (list, tuple)) else []


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of cases and methods into the summary, schema 1.

    NaN (nothing to measure) is left out of a metric and of its ``n``; where that leaves nothing,
    or a figure is infinite (the PSNR of equal images), the JSON holds null.
    """
    names = list(dict.fromkeys(row["method"] for row in rows))
    by_method = {name: [row for row in rows if row["method"] == name] for name in names}
    changes = [row["off_trace_max_abs_change"] for row in rows if row["method"] != CLEAN]
    scored = [change for change in changes if not math.isnan(change)]
    without = [row["case_id"] for row in by_method[names[0]] if row["near_pixels"] == 0]
    return {
        "schema": 1,
        "num_cases": len(by_method[names[0]]),
        "off_trace_max_abs_change": max(scored, default=0.0),
        "methods": {
            name: {metric: _spread([row[metric] for row in own]) for metric in METRICS}
            for name, own in by_method.items()
        },
        "cases_without_near_region": without,
    }


def _spread(values: list[float]) -> dict[str, float | int | None]:
    """Mean, standard deviation over the cases, median and count of what is not NaN."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return {"mean": None, "std": None, "median": None, "n": 0}
    with np.errstate(invalid="ignore"):  # inf - inf in the deviation of infinite PSNRs
        figures = {"mean": known.mean(), "std": known.std(), "median": np.median(known)}
    finite = {key: float(value) if np.isfinite(value) else None for key, value in figures.items()}
    return finite | {"n": int(known.size)}


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _draw(sample: MARSample, result: CaseResult, folder: Path) -> None:
    """The case's image panel and its sinogram panel."""
    from ctmar.report.canvas import file_stem
    from ctmar.report.panels import render_panel
    from ctmar.report.sinograms import render_sinograms

    stem = file_stem(result.case_id)
    render_panel(
        result.images_hu,
        sample.reference_hu[0, 0],
        sample.metal_mask[0, 0],
        folder / f"{stem}.png",
        body_mask=sample.body_mask[0, 0],
        rmse_near=result.near_rmse(),
    )
    methods = {name: sinogram for name, sinogram in result.completed.items() if name != CLEAN}
    render_sinograms(sample, methods, folder / f"{stem}-sinograms.png")


class _Progress:
    """Lines to standard error: the first case, the last, and one every few seconds."""

    def __init__(self, total: int | None, shown: bool) -> None:
        self.total, self.shown, self.done = total, shown, 0
        self.start = self.last = time.monotonic()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        due = self.done in (1, self.total) or now - self.last >= PROGRESS_SECONDS
        if not (self.shown and due):
            return
        self.last = now
        of = f" of {self.total}" if self.total else ""
        each = (now - self.start) / self.done
        print(f"evaluation: case {self.done}{of}, {each:.1f} s a case", file=sys.stderr, flush=True)
