"""Pictures of sinograms: what was measured, where the metal's trace lies, what was put there."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ctmar.case import Case
from ctmar.errors import CtmarError
from ctmar.report.canvas import black_figure, paint_mask, plane, save_figure

ERROR_RANGE = 1.0
"""Errors of line integrals are shown from minus to plus this much at most."""


def sinogram_figure(case: Case, completed: Mapping[str, ArrayLike]) -> Figure:
    """Measured, the trace on it, clean; below, each completion above its error.

    Args:
        case: A batch of one; its centre slice is drawn.
        completed: Sinograms ``(angle, detector)`` of the centre slice by name.
    """
    if len(case) != 1:
        raise CtmarError(f"sample must hold one case, got {len(case)}")
    center = case.center()
    measured, clean = plane("measured", center.scan.measured[0, 0]), plane("clean", center.truth.clean[0, 0])
    trace = plane("metal_trace", center.scan.metal_trace[0, 0]).astype(bool)
    shown = {name: plane(name, sinogram) for name, sinogram in completed.items()}
    columns = max(len(shown), 3)
    figure, axes = black_figure(3, columns, 0.8)
    low, high = 0.0, float(max(np.max(clean), 1e-6))
    top = {"measured": measured, "metal trace": measured, "clean": clean}
    for ax, (name, sinogram) in zip(axes[0], top.items(), strict=False):
        ax.imshow(sinogram, cmap="gray", vmin=low, vmax=high, aspect="auto")
        ax.set_title(name, color="white", fontsize=9)
    paint_mask(axes[0, 1], trace, "auto")
    for column, (name, sinogram) in enumerate(shown.items()):
        error = sinogram - clean
        on_trace = (
            float(np.sqrt(np.mean(error[trace].astype(np.float64) ** 2))) if trace.any() else float("nan")
        )
        axes[1, column].imshow(sinogram, cmap="gray", vmin=low, vmax=high, aspect="auto")
        axes[1, column].set_title(f"{name}, RMSE on the trace {on_trace:.3f}", color="white", fontsize=9)
        axes[2, column].imshow(error, cmap="RdBu_r", vmin=-ERROR_RANGE, vmax=ERROR_RANGE, aspect="auto")
    labels = (f"line integrals 0 … {high:.1f}", "completed", f"error ± {ERROR_RANGE:g}")
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label, color="white", fontsize=9)
    for ax in axes.flat:
        if not ax.images:
            ax.set_visible(False)
    return figure


def render_sinograms(case: Case, completed: Mapping[str, ArrayLike], path: Path) -> None:
    """Writes :func:`sinogram_figure` as a PNG; the arguments are the same."""
    save_figure(sinogram_figure(case, completed), path)
