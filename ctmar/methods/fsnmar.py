"""Frequency split (FS): the corrected image's low frequencies, near metal the uncorrected one's high ones.

Meyer, Raupach, Lell, Schmidt & Kachelrieß, Med. Phys. 39:1904 (2012), doi 10.1118/1.3691902.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.nmar import NMAR
from ctmar.methods.smoothing import gaussian

SPLIT_MM = 1.4
"""Standard deviation of the Gaussian that divides low from high frequencies."""

REACH_MM = 4.0
"""Standard deviation of the Gaussian by which the weight falls off around metal."""


@dataclass(frozen=True)
class FSNMAR(NMAR):
    """NMAR with a frequency split of the images (:func:`split_frequencies`).

    Its sinogram is NMAR's; what is to be looked at is its own image.

    Attributes:
        split_mm: Standard deviation that divides low from high frequencies.
        reach_mm: How far from metal the uncorrected image's high frequencies reach.
    """

    name = "fsnmar"
    own_image = True

    split_mm: float = SPLIT_MM
    reach_mm: float = REACH_MM

    def __post_init__(self) -> None:
        for name, value in (("split_mm", self.split_mm), ("reach_mm", self.reach_mm)):
            if not value > 0:
                raise CtmarError(f"{name} must be positive, got {value!r}")

    def finish(self, scan: Scan, corrected_hu: Tensor, uncorrected_hu: Tensor) -> Tensor:
        """Fine detail beside metal comes back from the uncorrected image."""
        spacing_mm = scan.ray.grid.spacing_mm
        options = {"split_mm": self.split_mm, "reach_mm": self.reach_mm}
        return split_frequencies(corrected_hu, uncorrected_hu, scan.metal_mask, spacing_mm, **options)


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
