"""Errors under a mask, one figure a slice: RMSE, mean absolute error and bias.

Sums run in float64. A mask without pixels gives NaN, never 0: nothing was measured there. What lies
outside the mask has no influence, not even where it is NaN.
"""

import torch
from torch import Tensor

from ctmar.errors import CtmarError


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last two axes where ``mask`` is True.

    Args:
        values: ``(..., row, column)``.
        mask: Bool, the same rows and columns; leading axes broadcast.

    Returns:
        float64 of the (broadcast) leading shape; NaN where the mask holds no pixel.
    """
    if mask.dtype != torch.bool:
        raise CtmarError(f"mask must be bool, got {mask.dtype}")
    if values.ndim < 2 or values.shape[-2:] != mask.shape[-2:]:
        raise CtmarError(
            "image and mask must have the same rows and columns, "
            f"got {tuple(values.shape)} and {tuple(mask.shape)}"
        )
    values, mask = torch.broadcast_tensors(values, mask)
    total = torch.where(mask, values.double(), 0.0).sum(dim=(-2, -1))
    count = mask.sum(dim=(-2, -1))
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)


def difference(image: Tensor, reference: Tensor) -> Tensor:
    """``image - reference`` in float64 after checking that rows and columns agree."""
    if image.ndim < 2 or image.shape[-2:] != reference.shape[-2:]:
        raise CtmarError(
            "image and reference must have the same rows and columns, "
            f"got {tuple(image.shape)} and {tuple(reference.shape)}"
        )
    return image.double() - reference.double()


def rmse(image: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Root of the mean squared error under ``mask``, in the images' unit.

    Args:
        image: ``(..., row, column)``; images in HU, or sinograms.
        reference: The same rows and columns; leading axes broadcast.
        mask: Bool, the same rows and columns; leading axes broadcast.

    Returns:
        float64 of the leading shape; NaN where the mask holds no pixel.
    """
    return masked_mean(difference(image, reference).square(), mask).sqrt()


def mae(image: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error under ``mask``; arguments and result as :func:`rmse`."""
    return masked_mean(difference(image, reference).abs(), mask)


def bias(image: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``image - reference`` under ``mask``; arguments and result as :func:`rmse`."""
    return masked_mean(difference(image, reference), mask)
