"""The map of structural similarity (Wang et al. 2004)."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctmar.errors import CtmarError
from ctmar.methods.smoothing import separable

SIGMA, TAPS, K1, K2 = 1.5, 11, 0.01, 0.03
"""Gaussian window and constants of Wang et al. 2004, section III."""


def smooth(images: Tensor) -> Tensor:
    """``(image, row, column)`` under the Gaussian window, mirrored at the edges.

    Rows and columns one after the other: a tenth of the work of one 11 × 11 window.
    """
    half = TAPS // 2
    offsets = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = window / window.sum()
    padded = pad(images[:, None], (half, half, half, half), mode="reflect")
    return separable(padded[:, 0], window)


def ssim_map(image: Tensor, reference: Tensor, data_range: float) -> Tensor:
    """Structural similarity of each pixel's surroundings, at most 1.

    Args:
        image: ``(..., row, column)``, at least 6 × 6; run in float64, or cancellation shows.
        reference: The same shape.
        data_range: The span of values, L in the constants ``(K L)²``.
    """
    if image.shape != reference.shape or image.ndim < 2 or min(image.shape[-2:]) <= TAPS // 2:
        raise CtmarError(
            "image and reference must be of one shape, 6 x 6 or larger, "
            f"got {tuple(image.shape)} and {tuple(reference.shape)}"
        )
    if not data_range > 0:
        raise CtmarError(f"data_range must be positive, got {data_range!r}")
    x, y = (a.double().reshape(-1, *image.shape[-2:]) for a in (image, reference))
    mean_x, mean_y, xx, yy, xy = smooth(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    variance = (xx - mean_x**2).clamp(min=0) + (yy - mean_y**2).clamp(min=0)
    covariance = xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variance + c2)).reshape(image.shape)
