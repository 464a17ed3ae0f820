"""The one evaluation path: every method completes the same cases, is reconstructed and scored alike."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from ctmar.errors import CtmarError
from ctmar.evaluation.cases import CLEAN, CaseResult, ImageMethod, Method, evaluate_case
from ctmar.operators import RayTransform
from ctmar.report.canvas import write_text
from ctmar.report.summary import as_csv, summarise
from ctmar.sample import MARSample

PROGRESS_SECONDS = 5.0
"""At least this long between two lines of progress."""


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
    write_text(Path(folder) / "cases.csv", as_csv(rows))
    write_text(Path(folder) / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


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
