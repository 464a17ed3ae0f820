"""The figures of one case, under the names that reports and checkpoints' monitors use."""

from torch import Tensor

from ctmar.metrics.errors import bias, mae, rmse
from ctmar.metrics.masks import near_metal_mask
from ctmar.metrics.protocols import PROTOCOLS, psnr, ssim

IMAGE_METRICS: tuple[str, ...] = (
    "rmse_hu_near",
    "mae_hu_near",
    "bias_hu_near",
    "rmse_hu_body",
    *(f"psnr_{name}" for name in PROTOCOLS),
    *(f"ssim_{name}" for name in PROTOCOLS),
)
"""What :func:`image_metrics` measures, in the order of reports."""


def image_metrics(
    image_hu: Tensor, reference_hu: Tensor, metal_mask: Tensor, body_mask: Tensor, spacing_mm: float
) -> dict[str, Tensor]:
    """Every image metric, each a float64 tensor of the leading shape.

    Args:
        image_hu: HU without any metal pasted in, ``(..., row, column)``.
        reference_hu: HU of the noise-free, metal-free acquisition; leading axes broadcast.
        metal_mask: Bool, True where a pixel holds metal; never scored.
        body_mask: Bool, True in the patient.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        The metrics by the names of :data:`IMAGE_METRICS`; NaN where nothing could be scored.
    """
    near = near_metal_mask(body_mask, metal_mask, spacing_mm)
    masks = (body_mask, metal_mask)
    figures = {
        "rmse_hu_near": rmse(image_hu, reference_hu, near),
        "mae_hu_near": mae(image_hu, reference_hu, near),
        "bias_hu_near": bias(image_hu, reference_hu, near),
        "rmse_hu_body": rmse(image_hu, reference_hu, body_mask & ~metal_mask),
    }
    figures |= {f"psnr_{name}": psnr(image_hu, reference_hu, *masks, name) for name in PROTOCOLS}
    figures |= {f"ssim_{name}": ssim(image_hu, reference_hu, *masks, name) for name in PROTOCOLS}
    return figures
