"""The black canvas that pictures are drawn on, and the ways to get it off again.

Figures are matplotlib objects without pyplot, so that they need no display and leave no state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike, NDArray

from ctmar.errors import CtmarError
from ctmar.files import whole

METAL_COLOR = (1.0, 0.82, 0.2)
"""Metal is drawn flat, from its mask: what a reconstruction holds there says nothing."""

CROP_MARGIN = 4
"""Pixels left around the body."""

GAP = 2
"""Pixels between pictures in a row."""

PANEL_INCHES = 2.7
TITLE_INCHES = 0.3
DPI = 110


def plane(name: str, values: ArrayLike) -> NDArray[Any]:
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


def black_figure(rows: int, columns: int, aspect: float) -> tuple[Figure, NDArray[Any]]:
    """A black figure of panels whose height is ``aspect`` of their width."""
    size = (PANEL_INCHES * columns + 0.35, PANEL_INCHES * aspect * rows + 0.35)
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.005, hspace=0.005)
    figure = Figure(figsize=size, dpi=DPI, facecolor="black", layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_facecolor("black")
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure, axes


def row_figure(tiles: Sequence[NDArray[np.uint8]], titles: Sequence[str]) -> Figure:
    """A black figure of pictures of one size side by side, each under its title.

    One axes holds them all: a panel each takes matplotlib two to four times as long.

    Args:
        tiles: ``(row, column, RGB)`` each.
        titles: One a tile.
    """
    rows, columns = tiles[0].shape[:2]
    gap = np.zeros((rows, GAP, 3), np.uint8)
    strip = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    width = PANEL_INCHES * len(tiles)
    height = width * rows / strip.shape[1]
    figure = Figure(figsize=(width, height + TITLE_INCHES), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    share = height / (height + TITLE_INCHES)
    ax = figure.add_axes((0, 0, 1, share))
    ax.set_axis_off()
    ax.imshow(strip, aspect="auto")
    for place, title in enumerate(titles):
        center = (place * (columns + GAP) + columns / 2) / strip.shape[1]
        figure.text(center, (1 + share) / 2, title, color="white", fontsize=9, ha="center", va="center")
    return figure


def paint_mask(ax: Axes, mask: NDArray[np.bool_], aspect: Literal["equal", "auto"] = "equal") -> None:
    """Paints the True pixels of ``mask`` in the metal's colour; ``aspect`` as in the image below."""
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = (*METAL_COLOR, 1.0)
    ax.imshow(layer, interpolation="nearest", aspect=aspect)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG whole or not at all, making its folder if need be."""
    with whole(path) as partial:
        figure.savefig(partial, format="png", facecolor=figure.get_facecolor())


def figure_rgb(figure: Figure) -> NDArray[np.uint8]:
    """The figure as pixels, ``(row, column, RGB)``, for loggers that take arrays."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
