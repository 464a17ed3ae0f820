"""A construct in its body, for a person to look at: axial, sagittal, coronal, and as a relief from behind."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.errors import CtmarError
from ctmar.report.canvas import METAL_COLOR, black_figure, save_figure

BONE_HU = (-250.0, 1250.0)
"""Display window of the slices."""
BONE_COLOR = (0.93, 0.87, 0.74)
LIGHT = (-0.4, -0.5, 0.77)
"""Where the light comes from, in the picture: from the left, from above, towards the viewer."""
STEP_MM = 0.7
"""Pixels of the relief."""
MARGIN_MM = 25.0
"""Body around the construct that is shown."""


class Look(NamedTuple):
    """What is drawn: everything ``(z, y, x)`` on one grid, ``spacing_mm`` in the order (x, y, z)."""

    hu: NDArray[np.floating[Any]]
    bone: NDArray[np.bool_]
    metal: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]


def draw_construct(
    path: Path,
    look: Look,
    at_mm: tuple[float, float, float],
    title: str = "",
    flat_metal: bool = True,
) -> None:
    """Writes a picture of four panels; the three slices pass ``at_mm`` (x, y, z).

    Args:
        path: The PNG file.
        look: What is drawn.
        at_mm: Where the slices lie.
        title: Above the panels.
        flat_metal: Whether metal is painted over the slices; the HU show it else.

    Raises:
        CtmarError: If the shapes differ, or there is no metal to show.
    """
    if not look.hu.shape == look.bone.shape == look.metal.shape:
        raise CtmarError(f"bone and metal must have the CT's shape {look.hu.shape}, got {look.metal.shape}")
    if not look.metal.any():
        raise CtmarError("a picture of a construct must show metal, got none in the volume")
    box = _around(look)
    first = np.array([s.start for s in box])
    part = Look(look.hu[box], look.bone[box], look.metal[box], look.spacing_mm)
    at = np.rint(np.array(at_mm) / look.spacing_mm).astype(int)[::-1] - first
    at = np.clip(at, 0, np.array(part.hu.shape) - 1)
    _, sy, sz = (s / look.spacing_mm[0] for s in look.spacing_mm)
    figure, axes = black_figure(1, 4, 1.15)
    # Seen from the feet, from the patient's left, from the front: the head is up.
    slices = (
        (part.hu[at[0]], part.metal[at[0]], sy, False),
        (part.hu[:, :, at[2]], part.metal[:, :, at[2]], sz / sy, True),
        (part.hu[:, at[1]], part.metal[:, at[1]], sz, True),
    )
    for ax, (image, metal, aspect, upright) in zip(axes[0], slices, strict=False):
        origin = "lower" if upright else "upper"
        ax.imshow(image, cmap="gray", vmin=BONE_HU[0], vmax=BONE_HU[1], origin=origin, aspect=aspect)
        if not flat_metal:
            continue
        layer = np.zeros((*metal.shape, 4))
        layer[metal] = (*METAL_COLOR, 1.0)
        ax.imshow(layer, origin=origin, aspect=aspect, interpolation="nearest")
    axes[0, 3].imshow(relief(part), origin="lower")
    for ax, name in zip(axes[0], ("axial", "sagittal", "coronal", "from behind"), strict=True):
        ax.set_title(name, color="white", fontsize=8)
    if title:
        figure.suptitle(title, color="white", fontsize=10)
    save_figure(figure, path)


def _around(look: Look) -> tuple[slice, ...]:
    """The box of the metal and a margin."""
    ends = []
    where = np.nonzero(look.metal)
    for found, step, count in zip(where, look.spacing_mm[::-1], look.metal.shape, strict=True):
        pad = int(MARGIN_MM / step)
        ends.append(slice(max(int(found.min()) - pad, 0), min(int(found.max()) + pad + 1, count)))
    return tuple(ends)


def relief(look: Look) -> NDArray[np.float64]:
    """Bone and metal seen from behind, shaded: ``(z, x, RGB)``, z upwards, the patient's left on the left."""
    zoom = [s / STEP_MM for s in look.spacing_mm[::-1]]
    solid, metal = (
        ndimage.zoom(ndimage.gaussian_filter(m.astype(np.float32), 0.5), zoom, order=1) > 0.4
        for m in (look.bone | look.metal, look.metal)
    )
    seen = solid[:, ::-1]
    hit = seen.any(axis=1)
    depth = np.where(hit, seen.argmax(axis=1), seen.shape[1]).astype(float)
    up, across = np.gradient(ndimage.gaussian_filter(np.minimum(depth, np.median(depth[hit]) + 60), 0.8))
    normal = np.stack([across, up, np.ones_like(up)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.asarray(LIGHT) / np.linalg.norm(LIGHT)
    shade = 0.25 + 0.75 * np.clip(normal @ (light * (1, -1, 1)), 0, 1)
    shade *= 1 - 0.45 * np.clip((depth - depth.min()) / max(1.0, np.ptp(depth[hit])), 0, 1)
    rows, columns = np.nonzero(hit)
    first = metal[:, ::-1][rows, depth[rows, columns].astype(int), columns]
    picture = np.zeros((*hit.shape, 3))
    color = np.where(first[:, None], METAL_COLOR, BONE_COLOR)
    picture[rows, columns] = color * shade[rows, columns, None]
    return picture[:, ::-1]
