"""What a reader of a corrected image fears: a screw that looks loose, metal eaten or made up.

The definitions are this project's own, for want of published ones. Everything is in the slice.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.metrics.masks import metal_distance_mm

RIM_MM = 3.0
"""How far from metal loosening is looked for."""
LUCENT_HU, LUCENT_SHARE = -100.0, 0.25
"""An error below this over such a share of the rim reads as a lucent line, and a screw as loose."""
LEAST_PIECE_MM2 = 4.0
"""Smaller pieces of metal are no cut through a screw or rod."""

Mask = NDArray[np.bool_]


class Rims(NamedTuple):
    """Pieces of metal in a slice, and those that look loose though they are not."""

    pieces: int
    lucent: int


def lucent_rims(
    image_hu: Tensor, reference_hu: Tensor, body_mask: Tensor, metal_mask: Tensor, spacing_mm: float
) -> Rims:
    """How many pieces of metal an image surrounds with a dark rim that is not there.

    A *piece* is a set of touching metal pixels (corners included) of 4 mm² or more. Its *rim* is what of
    the body lies within 3 mm of it outside all metal. The rim is falsely lucent where the image lies more
    than 100 HU below the reference in a quarter of it or more.

    Args:
        image_hu: ``(row, column)``, HU.
        reference_hu: The truth without metal, the same shape.
        body_mask: Bool, the same shape.
        metal_mask: Bool, the same shape: every pixel that holds true metal, be it a little.
        spacing_mm: Edge of a pixel in mm.

    Raises:
        CtmarError: Other than two axes, or different shapes.
    """
    shapes = [tuple(one.shape) for one in (image_hu, reference_hu, body_mask, metal_mask)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise CtmarError(f"images and masks must be of one shape (row, column), got {shapes}")
    dark = (image_hu - reference_hu < LUCENT_HU).cpu().numpy()
    tissue = (body_mask & ~metal_mask).cpu().numpy()
    numbers, count = label(metal_mask.cpu().numpy(), np.ones((3, 3)))
    pieces = lucent = 0
    for number in range(1, count + 1):
        piece: Mask = numbers == number
        if piece.sum() * spacing_mm**2 < LEAST_PIECE_MM2:
            continue
        near = metal_distance_mm(torch.from_numpy(piece)[None], spacing_mm)[0].numpy() <= RIM_MM
        rim = near & tissue
        if rim.any():
            pieces += 1
            lucent += bool(dark[rim].mean() >= LUCENT_SHARE)
    return Rims(pieces, lucent)


def dice(shown: Tensor, true: Tensor) -> float:
    """``2 |A ∩ B| / (|A| + |B|)`` of two masks of one shape; NaN where both are empty (Dice 1945).

    Raises:
        CtmarError: Different shapes, or no masks.
    """
    if shown.shape != true.shape or shown.dtype != torch.bool or true.dtype != torch.bool:
        got = f"{shown.dtype} {tuple(shown.shape)} and {true.dtype} {tuple(true.shape)}"
        raise CtmarError(f"shown and true must be bool masks of one shape, got {got}")
    total = int(shown.sum() + true.sum())
    return 2 * int((shown & true).sum()) / total if total else float("nan")
