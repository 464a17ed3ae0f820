"""Frequency split (FS): the corrected image's low frequencies, near metal the uncorrected one's high ones.

Meyer, Raupach, Lell, Schmidt & Kachelrieß, Med. Phys. 39:1904 (2012), doi 10.1118/1.3691902.
"""

import torch
from torch import Tensor

from ctmar.completion.smoothing import gaussian

SPLIT_MM = 1.4
"""Standard deviation of the Gaussian that divides low from high frequencies."""

REACH_MM = 4.0
"""Standard deviation of the Gaussian by which the weight falls off around metal."""


def split_frequencies(
    corrected: Tensor,
    uncorrected: Tensor,
    metal_mask: Tensor,
    spacing_mm: float,
    *,
    split_mm: float = SPLIT_MM,
    reach_mm: float = REACH_MM,
) -> Tensor:
    """``low(corrected) + W · high(uncorrected) + (1 - W) · high(corrected)``.

    ``high`` is an image less its smoothed self, and ``W = min(1, 2 G * metal)``: 1 at the edge of
    metal, 0 far away. Interpolation blurs what lies beside metal; the edges of bone there come back
    from the uncorrected image, and with them its noise and its finest streaks. Metal takes no part in
    the smoothing, or the step at its edge would leave a dark rim around it.

    Args:
        corrected: Image ``(..., row, column)``, of NMAR as published; HU or 1/mm.
        uncorrected: The same, with artifacts.
        metal_mask: Bool, same shape.
        spacing_mm: Pixel size.
        split_mm: Standard deviation that divides low from high frequencies.
        reach_mm: Standard deviation of the weight's fall around metal.

    Returns:
        The image; equal to ``corrected`` in metal, in a slice without any, and where both inputs agree.
    """
    weight = (2 * gaussian(metal_mask.to(corrected.dtype), reach_mm / spacing_mm)).clamp(max=1)
    tissue = (~metal_mask).to(corrected.dtype)
    difference = (uncorrected - corrected) * tissue
    sigma = split_mm / spacing_mm
    low = gaussian(difference, sigma) / gaussian(tissue, sigma).clamp(min=1e-6)
    return torch.where(metal_mask, corrected, corrected + weight * (difference - low))
