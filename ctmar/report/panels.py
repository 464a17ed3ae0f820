"""Image panels for a person to judge: two windows and the error, side by side."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ctmar.errors import CtmarError
from ctmar.report.canvas import METAL_COLOR, black_figure, body_crop, paint_mask, plane, save_figure
from ctmar.units import WINDOWS_HU

DIFFERENCE_HU = 200.0
"""Differences to the reference are shown from minus to plus this much."""

BODY_ABOVE_HU = -500.0
"""Where no body mask is given, the picture is cropped to what is denser than this in the reference."""


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
    reference = plane("reference_hu", reference_hu)
    metal = plane("metal_mask", metal_mask).astype(bool)
    body = plane("body_mask", body_mask).astype(bool) if body_mask is not None else reference > BODY_ABOVE_HU
    columns = {"reference": reference} | {name: plane(name, image) for name, image in images.items()}
    for name, image in [*columns.items(), ("metal_mask", metal), ("body_mask", body)]:
        if image.shape != reference.shape:
            raise CtmarError(f"{name} must have the reference's shape {reference.shape}, got {image.shape}")
    crop = body_crop(body | metal)
    height, width = reference[crop].shape
    figure, axes = black_figure(3, len(columns), height / width)
    for column, (name, image) in enumerate(columns.items()):
        axes[0, column].set_title(_column_title(name, rmse_near), color="white", fontsize=9)
        for row, window in enumerate(("soft", "bone")):
            low, high = WINDOWS_HU[window]
            axes[row, column].imshow(image[crop], cmap="gray", vmin=low, vmax=high)
            paint_mask(axes[row, column], metal[crop])
        if column:
            shown = axes[2, column].imshow(
                (image - reference)[crop], cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU
            )
            paint_mask(axes[2, column], metal[crop])
    if len(columns) > 1:
        _legend(figure, axes[2, 0], shown)
    _row_labels(axes)
    return figure


def _row_labels(axes: NDArray[Any]) -> None:
    (soft_low, soft_high), (bone_low, bone_high) = WINDOWS_HU["soft"], WINDOWS_HU["bone"]
    labels = (
        f"soft tissue {soft_low:.0f} … {soft_high:.0f} HU",
        f"bone {bone_low:.0f} … {bone_high:.0f} HU",
        "difference",
    )
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label, color="white", fontsize=9)


def _legend(figure: Figure, ax: Axes, shown: ScalarMappable) -> None:
    """The colours of the difference, in the panel that would hold the reference's own (zero)."""
    bar = figure.colorbar(shown, cax=ax.inset_axes((0.15, 0.55, 0.7, 0.08)), orientation="horizontal")
    bar.ax.tick_params(colors="white", labelsize=8)
    ax.text(
        0.5, 0.68, "image − reference, HU", color="white", fontsize=9, ha="center", transform=ax.transAxes
    )
    ax.text(
        0.5, 0.2, "■ metal (not scored)", color=METAL_COLOR, fontsize=9, ha="center", transform=ax.transAxes
    )


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
    save_figure(
        panel_figure(images, reference_hu, metal_mask, body_mask=body_mask, rmse_near=rmse_near), path
    )
