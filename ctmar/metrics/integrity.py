"""What a treatment plan needs of an image: bone and metal in their place, and the water a beam crosses."""

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.metrics.errors import masked_mean

BONE_HU = (150.0, 2500.0)
METAL_ABOVE_HU = 2500.0
"""Bone and metal by CT number, as the AAPM CT-MAR challenge counts them (Haneda et al. 2025)."""

STOPPING_HU = (-1000.0, -200.0, -120.0, -20.0, 50.0, 100.0, 140.0, 2990.0, 2995.0)
STOPPING_POWER = (0.0, 0.788, 0.897, 1.003, 1.038, 1.084, 1.097, 2.732, 3.2)
"""Proton stopping power relative to water by CT number: the AAPM CT-MAR challenge's table."""


def dice(first: Tensor, second: Tensor) -> Tensor:
    """``2 |A ∩ B| / (|A| + |B|)`` of two Bool masks over the last two axes; NaN where both are empty."""
    if first.dtype != torch.bool or second.dtype != torch.bool:
        raise CtmarError(f"masks must be bool, got {first.dtype} and {second.dtype}")
    both = (first & second).sum((-2, -1)).double()
    total = (first.sum((-2, -1)) + second.sum((-2, -1))).double()
    return torch.where(total > 0, 2 * both / total, torch.nan)


def volume_error(found: Tensor, true: Tensor) -> Tensor:
    """``| |A| - |B| | / |B|`` of two Bool masks; NaN where the true one is empty."""
    known = true.sum((-2, -1)).double()
    return torch.where(known > 0, (found.sum((-2, -1)).double() - known).abs() / known, torch.nan)


def bone_mask(image_hu: Tensor, scored: Tensor) -> Tensor:
    """Where the image shows bone (150 to 2500 HU), of the pixels that are ``scored``."""
    return (image_hu >= BONE_HU[0]) & (image_hu <= BONE_HU[1]) & scored


def stopping_power(image_hu: Tensor) -> Tensor:
    """Stopping power relative to water, float64, from :data:`STOPPING_HU`; constant beyond its ends."""
    values = np.interp(image_hu.double().cpu().numpy(), STOPPING_HU, STOPPING_POWER)
    return torch.from_numpy(np.asarray(values)).to(image_hu.device)


def water_path_error_mm(
    image_hu: Tensor, reference_hu: Tensor, scored: Tensor, near: Tensor, spacing_mm: float
) -> Tensor:
    """RMS error in mm of the water-equivalent path of beams along rows and columns, those that pass ``near``.

    A beam's path is the sum of stopping power times pixel over the ``scored`` pixels: the body without
    metal, whose own stopping power the planner knows.

    Args:
        image_hu: HU, ``(..., row, column)``.
        reference_hu: The metal-free truth.
        scored: Bool, the body outside the widened metal.
        near: Bool; beams that meet one of its pixels count.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        float64 of the leading shape; NaN where no beam passes.
    """
    excess = stopping_power(image_hu) - stopping_power(reference_hu)
    excess = torch.where(scored, excess, 0.0) * spacing_mm
    near = near.expand(excess.shape)
    errors = torch.cat([excess.sum(-1), excess.sum(-2)], dim=-1)
    counted = torch.cat([near.any(-1), near.any(-2)], dim=-1)
    return masked_mean(errors.square()[..., None, :], counted[..., None, :]).sqrt()
