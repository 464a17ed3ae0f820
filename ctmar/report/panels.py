"""Pictures for a person to judge: images in two windows beside their error, and sinograms.

Figures are matplotlib objects without pyplot, so that they need no display and leave no state.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ctmar.errors import CtmarError
from ctmar.units import WINDOWS_HU

DIFFERENCE_HU = 200.0
"""Differences to the reference are shown from minus to plus this much."""

METAL_COLOR = (1.0, 0.82, 0.2)
"""Metal is drawn flat, from its mask: what a reconstruction holds there says nothing."""

BODY_ABOVE_HU = -500.0
"""Where no body mask is given, the picture is cropped to what is denser than this in the reference."""

CROP_MARGIN = 4
"""Pixels left around the body."""

PANEL_INCHES = 2.7
DPI = 110


def _plane(name: str, values: ArrayLike) -> NDArray[np.generic]:
    """``values`` as rows and columns; a tensor on any device serves."""
    detach = getattr(values, "detach", None)
    array = np.asarray(detach().cpu() if detach else values)
    if array.ndim != 2:
        raise CtmarError(f"{name} must have rows and columns alone, got shape {array.shape}")
    return array


def body_crop(body: NDArray[np.bool_], margin: int = CROP_MARGIN) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle around True with a margin; everything if all False."""
    if not body.any():
        return slice(0, body.shape[0]), slice(0, body.shape[1])
    spans = []
    for axis, length in ((1, body.shape[0]), (0, body.shape[1])):
        found = np.flatnonzero(body.any(axis=axis))
        spans.append(slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, length)))
    return spans[0], spans[1]


def _figure(rows: int, columns: int, aspect: float) -> tuple[Figure, NDArray[np.object_]]:
    """A black figure of panels whose height is ``aspect`` of their width."""
    size = (PANEL_INCHES * columns + 0.35, PANEL_INCHES * aspect * rows + 0.35)
    figure = Figure(figsize=size, dpi=DPI, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.005, hspace=0.005)  # type: ignore[union-attr]
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_facecolor("black")
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure, axes


def _overlay(ax: Axes, mask: NDArray[np.bool_], color: tuple[float, float, float]) -> None:
    """Paints the True pixels of ``mask`` flat."""
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = (*color, 1.0)
    ax.imshow(layer, interpolation="nearest", aspect="auto")


def _column_title(name: str, rmse_near: Mapping[str, float] | None) -> str:
    if rmse_near is None or name not in rmse_near:
        return name
    value = rmse_near[name]
    return f"{name}\nnear RMSE {value:.0f} HU" if math.isfinite(value) else f"{name}\nno near region"


def panel_figure(
    images: Mapping[str, ArrayLike],
    reference_hu: ArrayLike,
    metal_mask: ArrayLike,
    *,
    body_mask: ArrayLike | None = None,
    rmse_near: Mapping[str, float] | None = None,
) -> Figure:
    """Soft-tissue window, bone window and difference of each image, the reference first.

    Args:
        images: HU by column title, each ``(row, column)``.
        reference_hu: HU of the metal-free truth, the same shape.
        metal_mask: Bool, the same shape; drawn flat in every panel.
        body_mask: Bool, the same shape, for the crop; from the reference's HU if None.
        rmse_near: Near-metal RMSE in HU by column title, for the titles.
    """
    reference = _plane("reference_hu", reference_hu)
    metal = _plane("metal_mask", metal_mask).astype(bool)
    body = _plane("body_mask", body_mask).astype(bool) if body_mask is not None else reference > BODY_ABOVE_HU
    columns = {"reference": reference} | {name: _plane(name, image) for name, image in images.items()}
    for name, image in [*columns.items(), ("metal_mask", metal), ("body_mask", body)]:
        if image.shape != reference.shape:
            raise CtmarError(f"{name} must have the reference's shape {reference.shape}, got {image.shape}")
    crop = body_crop(body | metal)
    height, width = reference[crop].shape
    figure, axes = _figure(3, len(columns), height / width)
    for column, (name, image) in enumerate(columns.items()):
        axes[0, column].set_title(_column_title(name, rmse_near), color="white", fontsize=9)
        for row, window in enumerate(("soft", "bone")):
            low, high = WINDOWS_HU[window]
            axes[row, column].imshow(image[crop], cmap="gray", vmin=low, vmax=high, aspect="auto")
            _overlay(axes[row, column], metal[crop], METAL_COLOR)
        if column:
            shown = axes[2, column].imshow(
                (image - reference)[crop], cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU, aspect="auto"
            )
            _overlay(axes[2, column], metal[crop], METAL_COLOR)
    if len(columns) > 1:
        _legend(figure, axes[2, 0], shown)
    _row_labels(axes)
    return figure


def _row_labels(axes: NDArray[np.object_]) -> None:
    (soft_low, soft_high), (bone_low, bone_high) = WINDOWS_HU["soft"], WINDOWS_HU["bone"]
    labels = (
        f"soft tissue {soft_low:.0f} … {soft_high:.0f} HU",
        f"bone {bone_low:.0f} … {bone_high:.0f} HU",
        "difference",
    )
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label, color="white", fontsize=9)


def _legend(figure: Figure, ax: Axes, shown: object) -> None:
    """The colours of the difference, in the panel that would hold the reference's own (zero)."""
    bar = figure.colorbar(shown, cax=ax.inset_axes((0.15, 0.55, 0.7, 0.08)), orientation="horizontal")  # type: ignore[arg-type]
    bar.ax.tick_params(colors="white", labelsize=8)
    ax.text(0.5, 0.68, "image − reference, HU", color="white", fontsize=9, ha="center", transform=ax.transAxes)
    ax.text(0.5, 0.2, "■ metal (not scored)", color=METAL_COLOR, fontsize=9, ha="center", transform=ax.transAxes)


def render_panel(
    images: Mapping[str, ArrayLike],
    reference_hu: ArrayLike,
    metal_mask: ArrayLike,
    path: Path,
    *,
    body_mask: ArrayLike | None = None,
    rmse_near: Mapping[str, float] | None = None,
) -> None:
    """Writes :func:`panel_figure` as a PNG; the arguments are the same."""
    save_figure(panel_figure(images, reference_hu, metal_mask, body_mask=body_mask, rmse_near=rmse_near), path)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG whole or not at all, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    figure.savefig(partial, format="png", facecolor=figure.get_facecolor())
    os.replace(partial, path)


def figure_rgb(figure: Figure) -> NDArray[np.uint8]:
    """The figure as pixels, ``(row, column, RGB)``, for loggers that take arrays."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
