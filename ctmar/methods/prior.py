"""The prior image of normalised interpolation: an image without metal artifacts, of few tissues.

Meyer, Raupach, Lell, Schmidt & Kachelrieß, Med. Phys. 37:5482 (2010), section II.B.
"""

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.methods.smoothing import gaussian
from ctmar.units import AIR_HU

AIR_BELOW_HU = -500.0
BONE_ABOVE_HU = 300.0
SMOOTHING_MM = 1.4
SEGMENTATIONS = ("thresholds", "kmeans")

KMEANS_START_HU = (-1000.0, 0.0, 700.0)
"""Where the means of air, soft tissue and bone start."""
KMEANS_STEPS = 20
KMEANS_BONE_HU = (150.0, 500.0)
"""Bone starts within these, whatever k-means finds: a slice may hold little bone, or contrast agent."""


def tissue_prior(
    image_hu: Tensor,
    metal_mask: Tensor,
    spacing_mm: float,
    *,
    air_below_hu: float = AIR_BELOW_HU,
    bone_above_hu: float = BONE_ABOVE_HU,
    smoothing_mm: float = SMOOTHING_MM,
    segmentation: str = "thresholds",
) -> Tensor:
    """The prior image: air, water, and bone at its own value, after smoothing; metal becomes water.

    Args:
        image_hu: ``(..., row, column)``, the FBP of the LI sinogram or of the measured one.
        metal_mask: Bool, same shape.
        spacing_mm: Pixel size.
        air_below_hu: What is less dense becomes air.
        bone_above_hu: What is denser keeps its value.
        smoothing_mm: Standard deviation of the Gaussian that quiets noise and streaks; 0 for none.
        segmentation: ``thresholds`` takes the two above; ``kmeans`` finds them in each slice.

    Returns:
        HU, the image's shape; the image itself stays as it was.
    """
    if segmentation not in SEGMENTATIONS:
        raise CtmarError(f"segmentation must be one of {', '.join(SEGMENTATIONS)}, got {segmentation!r}")
    if not air_below_hu < bone_above_hu:
        raise CtmarError(f"air_below_hu must be below bone_above_hu, got {air_below_hu} and {bone_above_hu}")
    smooth = gaussian(image_hu, smoothing_mm / spacing_mm) if smoothing_mm else image_hu
    air, bone = torch.as_tensor(air_below_hu), torch.as_tensor(bone_above_hu)
    if segmentation == "kmeans":
        air, bone = kmeans_thresholds(smooth, metal_mask)
    prior = torch.where(smooth < air, AIR_HU, 0.0)
    prior = torch.where(smooth > bone, smooth, prior)
    return torch.where(metal_mask, 0.0, prior)


def kmeans_thresholds(image_hu: Tensor, metal_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Thresholds of air and bone, half-way between the means of three classes (Lloyd's algorithm in 1D).

    Args:
        image_hu: ``(..., row, column)``.
        metal_mask: Bool, same shape; its pixels belong to no class.

    Returns:
        Two tensors ``(..., 1, 1)`` in HU; that of bone lies within :data:`KMEANS_BONE_HU`.
    """
    start = torch.tensor(KMEANS_START_HU, dtype=image_hu.dtype, device=image_hu.device)
    means = start.expand(*image_hu.shape[:-2], 3).unsqueeze(-1).unsqueeze(-1)
    for _ in range(KMEANS_STEPS):
        air, bone = ((means[..., n, :, :] + means[..., n + 1, :, :]) / 2 for n in (0, 1))
        classes = (image_hu < air, (image_hu >= air) & (image_hu <= bone), image_hu > bone)
        means = torch.stack(
            [_mean(image_hu, c & ~metal_mask, means[..., n, :, :]) for n, c in enumerate(classes)], -3
        )
    return air, bone.clamp(*KMEANS_BONE_HU)


def _mean(image: Tensor, mask: Tensor, otherwise: Tensor) -> Tensor:
    """Mean under the mask, ``(..., 1, 1)``; ``otherwise`` where the mask is empty."""
    count = mask.sum((-2, -1), keepdim=True)
    total = torch.where(mask, image, 0.0).sum((-2, -1), keepdim=True)
    return torch.where(count > 0, total / count.clamp(min=1), otherwise)
