"""Image quality against a reference: errors in HU under masks, PSNR and SSIM under named protocols."""

from ctmar.metrics.errors import bias, mae, masked_mean, rmse
from ctmar.metrics.masks import metal_distance_mm, near_metal_mask
from ctmar.metrics.protocols import PROTOCOLS, Protocol, psnr, ssim
from ctmar.metrics.suite import IMAGE_METRICS, image_metrics

__all__ = [
    "IMAGE_METRICS",
    "PROTOCOLS",
    "Protocol",
    "bias",
    "image_metrics",
    "mae",
    "masked_mean",
    "metal_distance_mm",
    "near_metal_mask",
    "psnr",
    "rmse",
    "ssim",
]
