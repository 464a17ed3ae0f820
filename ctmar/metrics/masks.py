"""Which pixels are scored: masks in the slice, from metal and body alone, never from a corrected image."""

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ctmar.errors import CtmarError

METAL_MARGIN_MM = 1.5
"""Metal is widened by this much, and by a pixel at least: its edge pixels hold metal and tissue."""

NEAR_MM = 20.0
"""How far from the metal "near" reaches, in the slice."""


def metal_distance_mm(metal_mask: Tensor, spacing_mm: float) -> Tensor:
    """Distance of each pixel's centre to the nearest metal pixel's centre in the same slice.

    Args:
        metal_mask: Bool, ``(..., row, column)``; leading axes are slices apart from each other.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        Distance in mm, float64, the mask's shape and device; 0 in the metal, inf in a slice without any.
    """
    if metal_mask.dtype != torch.bool or metal_mask.ndim < 2:
        raise CtmarError(
            f"metal_mask must be bool with rows and columns, got {metal_mask.dtype} {tuple(metal_mask.shape)}"
        )
    if not (math.isfinite(spacing_mm) and spacing_mm > 0):
        raise CtmarError(f"spacing_mm must be a positive number, got {spacing_mm!r}")
    slices = metal_mask.cpu().numpy().reshape(-1, *metal_mask.shape[-2:])
    distance = np.full(slices.shape, np.inf)
    for index, metal in enumerate(slices):
        if metal.any():  # without a zero in it, the transform measures to nowhere
            distance[index] = distance_transform_edt(~metal, sampling=spacing_mm)
    return torch.from_numpy(distance.reshape(metal_mask.shape)).to(metal_mask.device)


def near_metal_mask(body_mask: Tensor, metal_mask: Tensor, spacing_mm: float) -> Tensor:
    """Pixels near metal: in the body, outside the widened metal, within 20 mm of the metal in the slice.

    Args:
        body_mask: Bool, ``(..., row, column)``, True in the patient.
        metal_mask: Bool, the same shape, True where a pixel holds metal.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        Bool, the same shape; all False in a slice without metal.
    """
    if body_mask.dtype != torch.bool or body_mask.shape != metal_mask.shape:
        raise CtmarError(
            "body_mask must be bool and of the metal_mask's shape "
            f"{tuple(metal_mask.shape)}, got {body_mask.dtype} {tuple(body_mask.shape)}"
        )
    distance = metal_distance_mm(metal_mask, spacing_mm)
    tolerance = 1e-6  # mm; so that 20 pixels of 1 mm are within 20 mm whatever the rounding
    outside = distance > max(spacing_mm, METAL_MARGIN_MM) + tolerance
    return body_mask & outside & (distance <= NEAR_MM + tolerance)
