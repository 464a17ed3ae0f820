"""The patient in a CT: without the table, the blanket and the air around."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.errors import CtmarError

SKIN_HU = -400.0
"""Between air (-1000) and fat (-100), towards fat: blankets and mattresses stay below."""
OPENING_MM = 5.0
"""Radius of the opening: table tops, tubes and folds of cloth are thinner than twice this."""
SECOND_PART = 0.03
"""An arm or a leg is kept from this share of the largest part's area on ..."""
SOLID = 0.7
"""... if so much of it is denser than ``SKIN_HU``: a hollow or foam-filled table is not."""


def body_mask(hu: NDArray[np.floating], spacing_mm: tuple[float, ...] | float = 1.0) -> NDArray[np.bool_]:
    """True inside the patient, lungs and bowel gas included; slice by slice.

    Args:
        hu: HU, one slice ``(row, column)`` or several ``(slice, row, column)``.
        spacing_mm: In-plane voxel size: one number, or (x, y) or (x, y, z).

    Returns:
        Bool array of ``hu``'s shape; all False in a slice without a body.
    """
    if hu.ndim not in (2, 3):
        raise CtmarError(f"hu must have 2 or 3 axes, got {hu.ndim}")
    pair = (spacing_mm, spacing_mm) if isinstance(spacing_mm, (int, float)) else tuple(spacing_mm)[:2]
    sampling = (float(pair[1]), float(pair[0]))
    if not all(np.isfinite(s) and s > 0 for s in sampling):
        raise CtmarError(f"spacing must be positive, got {spacing_mm}")
    if hu.ndim == 2:
        return _slice_mask(hu, sampling)
    return np.stack([_slice_mask(image, sampling) for image in hu]) if len(hu) else np.zeros(hu.shape, bool)


def _slice_mask(image: NDArray[np.floating], sampling: tuple[float, float]) -> NDArray[np.bool_]:
    dense = np.asarray(image > SKIN_HU)
    mask = np.zeros(dense.shape, bool)
    if not dense.any():
        return mask
    # A margin of one voxel, so that the opening can tell the box's border from the image's.
    found = ndimage.find_objects(dense.astype(np.uint8))[0]
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in found)
    opened = _opened(ndimage.binary_fill_holes(dense[box]), sampling)
    mask[box] = ndimage.binary_fill_holes(_main_parts(opened, dense[box]))
    return mask


def _opened(filled: NDArray[np.bool_], sampling: tuple[float, float]) -> NDArray[np.bool_]:
    """Opening with a disk by distances; the image's border counts as inside, for a cut body."""
    pad = int(np.ceil(OPENING_MM / min(sampling))) + 1
    wide = np.pad(filled, pad, mode="edge")
    if wide.all():
        return filled
    eroded = ndimage.distance_transform_edt(wide, sampling=sampling) > OPENING_MM
    if not eroded.any():
        return np.zeros_like(filled)
    grown = ndimage.distance_transform_edt(~eroded, sampling=sampling) <= OPENING_MM
    return np.asarray(grown[pad:-pad, pad:-pad] & filled)


def _main_parts(opened: NDArray[np.bool_], dense: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(opened)
    if count == 0:
        return opened
    area = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    solid = np.bincount(parts.ravel(), weights=dense.ravel(), minlength=count + 1)[1:] / area
    keep = (area >= SECOND_PART * area.max()) & (solid >= SOLID)
    keep[area.argmax()] = True
    return np.asarray(np.r_[False, keep][parts])


def reaches_border(mask: NDArray[np.bool_], padding: NDArray[np.bool_] | None = None) -> float:
    """Share of the body's outline (in-plane) that lies on the image's border or on padding.

    Args:
        mask: Body, ``(slice, row, column)``.
        padding: True where the scanner measured nothing (outside a circular field of view).
    """
    outside = np.pad(
        np.zeros_like(mask) if padding is None else padding, ((0, 0), (1, 1), (1, 1)), constant_values=True
    )
    body = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    touches = np.zeros_like(mask)
    inner = mask.copy()
    for axis in (1, 2):
        for step in (-1, 1):
            touches |= np.roll(outside, step, axis)[:, 1:-1, 1:-1]
            inner &= np.roll(body, step, axis)[:, 1:-1, 1:-1]
    outline = mask & ~inner
    return float((outline & touches).sum() / max(int(outline.sum()), 1))
