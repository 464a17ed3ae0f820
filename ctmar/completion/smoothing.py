"""Gaussian smoothing of images."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ctmar.errors import CtmarError


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """The image under a normalised Gaussian of three standard deviations' reach, edges repeated.

    Args:
        image: ``(..., row, column)``, floating point.
        sigma: Standard deviation in pixels, positive.
    """
    if not sigma > 0:
        raise CtmarError(f"sigma must be positive, got {sigma!r}")
    radius = max(1, round(3 * sigma))
    offset = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = pad(flat, (radius,) * 4, mode="replicate")
    flat = conv2d(conv2d(flat, kernel[None, None, None, :]), kernel[None, None, :, None])
    return flat.reshape(image.shape)
