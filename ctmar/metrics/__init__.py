"""Image quality against a reference: errors in HU under masks, PSNR and SSIM under named protocols."""

from ctmar.metrics.consistency import helgason_ludwig
from ctmar.metrics.errors import bias, mae, masked_mean, rmse
from ctmar.metrics.masks import metal_distance_mm, near_metal_mask
from ctmar.metrics.own import Metric, check_metrics, own_metrics
from ctmar.metrics.protocols import PROTOCOLS, Protocol, psnr, ssim
from ctmar.metrics.regions import SHELLS_MM, TISSUES, shell_masks, tissue_masks
from ctmar.metrics.statistics import auc, bootstrap_mean, paired_bootstrap, size_group
from ctmar.metrics.suite import (
    CASE_METRICS,
    CHANGE_METRICS,
    IMAGE_METRICS,
    METAL_METRICS,
    REGION_METRICS,
    TEXTURE_METRICS,
    Truth,
    change_metrics,
    image_metrics,
    region_metrics,
    texture_metrics,
)

__all__ = [
    "CASE_METRICS",
    "CHANGE_METRICS",
    "IMAGE_METRICS",
    "METAL_METRICS",
    "PROTOCOLS",
    "REGION_METRICS",
    "SHELLS_MM",
    "TEXTURE_METRICS",
    "TISSUES",
    "Metric",
    "Protocol",
    "Truth",
    "auc",
    "bias",
    "bootstrap_mean",
    "change_metrics",
    "check_metrics",
    "helgason_ludwig",
    "image_metrics",
    "mae",
    "masked_mean",
    "metal_distance_mm",
    "near_metal_mask",
    "own_metrics",
    "paired_bootstrap",
    "psnr",
    "region_metrics",
    "rmse",
    "shell_masks",
    "size_group",
    "ssim",
    "texture_metrics",
    "tissue_masks",
]
