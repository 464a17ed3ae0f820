"""The one evaluation path: every method completes the same cases, is reconstructed and scored alike."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.evaluation.cases import CLEAN, FACTS, LIMIT, CaseResult, evaluate_case
from ctmar.evaluation.lesions import LesionStudy
from ctmar.files import file_stem, write_text
from ctmar.methods.base import Method
from ctmar.metrics import CASE_METRICS, Metric, check_metrics
from ctmar.report.page import run_page
from ctmar.report.summary import as_csv, summarise

ORIGINS = ("source", "metal_from")
"""What a case's parameters say of where its sinogram and its metal trace come from."""

PROGRESS_SECONDS = 5.0
"""At least this long between two lines of progress."""


@dataclass(frozen=True)
class Picture:
    """A case to be looked at, and why."""

    why: str
    case: Case
    result: CaseResult


def evaluate(
    methods: Mapping[str, Method],
    cases: Iterable[Case],
    folder: Path,
    *,
    filter: str = "ram-lak",
    metrics: Mapping[str, Metric] | None = None,
    num_panels: int = 6,
    progress: bool = True,
    lesions: LesionStudy | None = None,
    limit: Callable[[Case], Tensor] | None = None,
    facts: Callable[[], Mapping[str, Any]] | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores methods on cases; writes ``summary.json``, ``cases.csv``, ``report.html`` and pictures.

    Figures are those of the centre slice, against ``reference_hu``. Nothing is written before the
    last case is through, so that a run that fails leaves no half of a result.

    Args:
        methods: By the name in reports; ``clean`` and ``limit`` are taken (:data:`CLEAN`, :data:`LIMIT`).
        cases: Batches of one case each, of 1 or 3 slices. Where they can be gone through again, the
            report also shows the cases in which the last method is worst and in its middle.
        folder: Where the results go; made if need be.
        filter: Of the FBP, as in :meth:`RayTransform.fbp`.
        metrics: Metrics of the caller's own besides, by the name that they get in all that is written.
        num_panels: How many of the first cases are drawn; 0 draws nothing, and no report.
        progress: Whether lines about progress go to standard error.
        lesions: The planted-lesion study, if it is wanted; ``lesions.csv`` holds its sites.
        limit: What gives a case's photon limit, such as a :class:`~ctmar.evaluation.limit.PhotonLimit`, where
            that is to be a row. The lesion study has none.
        facts: Further entries of the summary, asked for after the last case.
        config: What the report states as the run's settings.

    Returns:
        The summary, as in ``summary.json``: per method and metric ``mean``, ``std`` (of the cases,
        not of the mean), ``median`` and ``n``, the number of cases it could be measured on; what the
        sinograms (``source``) and the metal trace (``metal_from``) were made from; and on how many cases no
        tissue is labelled (``cases_without_labels``), so that figures by tissue have no value.

    Raises:
        CtmarError: For no case, a batch of several, a completion of another shape or not finite, or a
            metric whose name is taken or that returns anything but a number.
    """
    for taken, row in ((CLEAN, "clean sinogram"), (LIMIT, "photon limit")):
        if taken in methods:
            raise CtmarError(f"methods must not be named {taken!r}: it is the row of the {row}")
    metrics = dict(metrics or {})
    check_metrics(metrics, (*CASE_METRICS, *FACTS))
    rows: list[dict[str, Any]] = []
    pictures: list[Picture] = []
    report = _Progress(len(cases) if isinstance(cases, Sized) else None, progress)
    origins: dict[str, set[str]] = {key: set() for key in ORIGINS}
    unlabelled = 0
    for case in cases:
        result = evaluate_case(methods, case, filter, metrics, limit and limit(case))
        if len(pictures) < num_panels:
            pictures.append(Picture("", case.center(), result))
        rows += result.rows
        unlabelled += not bool(case.center().truth.tissue_labels.any())
        for key, found in origins.items():
            found.add(str(case.truth.parameters[0].get(key, "unknown")))
        if lesions is not None:
            # An image that lies ready cannot be asked again.
            lesions.add({name: method for name, method in methods.items() if method.completes}, case)
        report.step()
    if not rows:
        raise CtmarError("evaluation needs at least one case, got none")
    summary = summarise(rows, list(metrics)) | {
        key: "+".join(sorted(found)) for key, found in origins.items()
    }
    summary |= {"cases_without_labels": unlabelled} | dict(facts() if facts else {})
    if lesions is not None:
        summary["lesions"] = lesions.summary()
    folder = Path(folder)
    for picture in pictures:
        _draw(picture.case, picture.result, folder / "panels")
        save_images(picture.case, picture.result, folder / "images")
    if config:
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    if num_panels:
        chosen = extremes(rows, list(methods)[-1])
        again = _again(chosen, methods, cases, filter, limit)
        shown = {picture.result.case_id for picture in again}
        pictures = again + [picture for picture in pictures if picture.result.case_id not in shown]
        write_text(folder / "report.html", run_page(summary, rows, pictures, config or {}))
    if lesions is not None and lesions.rows:
        write_text(folder / "lesions.csv", as_csv(lesions.rows))
    write_text(folder / "cases.csv", as_csv(rows))
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def extremes(rows: list[dict[str, Any]], method: str) -> dict[str, str]:
    """The case in which a method's near-metal RMSE is largest and the one in its middle, with the reason."""
    own = [row for row in rows if row["method"] == method and not math.isnan(row["rmse_hu_near"])]
    own.sort(key=lambda row: row["rmse_hu_near"])
    if not own:
        return {}
    middle, worst = own[(len(own) - 1) // 2]["case_id"], own[-1]["case_id"]
    return {middle: f"median case of {method}"} | {worst: f"worst case of {method}"}


def _again(
    chosen: Mapping[str, str],
    methods: Mapping[str, Method],
    cases: Iterable[Case],
    filter: str,
    limit: Callable[[Case], Tensor] | None,
) -> list[Picture]:
    """The chosen cases with their images, where the cases are no one-way stream."""
    if isinstance(cases, Iterator):
        return []
    found = []
    for case in cases:
        why = chosen.get(case.scan.case_id[0])
        if why:
            result = evaluate_case(methods, case, filter, limit=limit and limit(case))
            found.append(Picture(why, case.center(), result))
        if len(found) == len(chosen):
            break
    return found


def save_images(case: Case, result: CaseResult, folder: Path) -> None:
    """The case's images as ``CASE.npz`` in HU (float16 up to 65504), for comparisons across runs."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {f"image_{name}": image.numpy().clip(-2e4, 6e4) for name, image in result.images_hu.items()}
    images["reference"] = case.truth.reference_hu[0, 0].numpy()
    masks: dict[str, Any] = {
        "metal": case.scan.metal_mask[0, 0].numpy(),
        "body": case.truth.body_mask[0, 0].numpy(),
    }
    halves: dict[str, Any] = {name: image.astype(np.float16) for name, image in images.items()}
    np.savez_compressed(folder / f"{file_stem(result.case_id)}.npz", **halves, **masks)


def _draw(case: Case, result: CaseResult, folder: Path) -> None:
    """The case's image panel and its sinogram panel."""
    from ctmar.report.panels import render_panel
    from ctmar.report.sinograms import render_sinograms

    stem = file_stem(result.case_id)
    render_panel(
        result.images_hu,
        case.truth.reference_hu[0, 0],
        case.scan.metal_mask[0, 0],
        folder / f"{stem}.png",
        body_mask=case.truth.body_mask[0, 0],
        rmse_near=result.near_rmse(),
    )
    methods = {name: sinogram for name, sinogram in result.completed.items() if name != CLEAN}
    render_sinograms(case, methods, folder / f"{stem}-sinograms.png")


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
