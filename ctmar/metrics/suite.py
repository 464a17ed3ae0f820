"""The figures of one case, under the names that reports and checkpoints' monitors use."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ctmar.metrics.aapm import SCORE
from ctmar.metrics.errors import bias, mae, masked_mean, rmse
from ctmar.metrics.hardware import shaft_errors
from ctmar.metrics.integrity import METAL_ABOVE_HU, bone_mask, dice, volume_error, water_path_error_mm
from ctmar.metrics.masks import metal_distance_mm, near_metal_mask
from ctmar.metrics.protocols import PROTOCOLS, find_protocol, psnr, scored_pixels, ssim
from ctmar.metrics.regions import SHELLS_MM, TISSUES, shell_masks, tissue_masks, widened_metal
from ctmar.metrics.texture import (
    RING_MM,
    artifact_index,
    bone_edges,
    contrast_to_noise,
    edge_sharpness,
    masked_std,
    ring_streaks,
    streak_amplitude,
)

IMAGE_METRICS: tuple[str, ...] = (
    "rmse_hu_near",
    "mae_hu_near",
    "bias_hu_near",
    "rmse_hu_body",
    *(f"psnr_{name}" for name in PROTOCOLS),
    *(f"ssim_{name}" for name in PROTOCOLS),
)
"""What :func:`image_metrics` measures, in the order of reports."""

REGIONS = (*SHELLS_MM, *TISSUES)
REGION_METRICS: tuple[str, ...] = tuple(
    f"{kind}_hu_{name}" for name in REGIONS for kind in ("rmse", "mae", "bias")
)
"""What :func:`region_metrics` measures."""

TEXTURE_METRICS: tuple[str, ...] = (
    "artifact_index_hu",
    "noise_sd_hu",
    "streak_hu",
    "ring_streaks_hu",
    "cnr_muscle_fat",
    "sharpness_hu_mm",
    "bone_dice",
    "metal_dice",
    "screw_tip_error_mm",
    "screw_diameter_error_mm",
    "rmse_wepl_mm",
    "rmse_hu_aapm",
    "noise_error_hu",
    "sharpness_error",
    "dssim_aapm",
    "bone_error",
    "metal_error",
)
"""What :func:`texture_metrics` measures."""

METAL_METRICS = ("metal_dice", "screw_tip_error_mm", "screw_diameter_error_mm", "metal_error")
"""Of these, what metal is shown; they need the true mask, not one segmented from the image."""

CHANGE_METRICS: tuple[str, ...] = tuple(f"change_hu_{name}" for name in SHELLS_MM)
"""What :func:`change_metrics` measures."""

CASE_METRICS: tuple[str, ...] = (
    *IMAGE_METRICS,
    "rmse_sinogram_trace",
    SCORE,
    *REGION_METRICS,
    *TEXTURE_METRICS,
    *CHANGE_METRICS,
    "hl_excess",
    "off_trace_rms_reprojected",
)
"""Every metric of a case's rows, in the order of reports."""

SOFT_HU = (-50.0, 100.0)
"""Soft tissue in the reference, for the region in which noise and artifacts are measured."""


@dataclass(frozen=True)
class Truth:
    """What a case's images are held against; images and masks ``(slice, row, column)``.

    Attributes:
        reference_hu: FBP of the noise-free, metal-free acquisition: what HU are compared with.
        clean_hu: FBP of the metal-free acquisition with its noise: what texture is compared with.
        uncorrected_hu: FBP of what was measured.
        metal_mask: Bool, True where a pixel holds metal.
        body_mask: Bool, True in the patient.
        tissue_labels: uint8 TotalSegmentator ids.
        spacing_mm: Edge of a pixel.
    """

    reference_hu: Tensor
    clean_hu: Tensor
    uncorrected_hu: Tensor
    metal_mask: Tensor
    body_mask: Tensor
    tissue_labels: Tensor
    spacing_mm: float

    @cached_property
    def scored(self) -> Tensor:
        """The body outside the widened metal."""
        return self.body_mask & ~widened_metal(self.metal_mask, self.spacing_mm)

    @cached_property
    def near(self) -> Tensor:
        """The body near metal."""
        return near_metal_mask(self.body_mask, self.metal_mask, self.spacing_mm)

    @cached_property
    def shells(self) -> dict[str, Tensor]:
        """Masks by distance from metal."""
        return shell_masks(self.body_mask, self.metal_mask, self.spacing_mm)

    @cached_property
    def tissues(self) -> dict[str, Tensor]:
        """Masks by tissue."""
        return tissue_masks(
            self.tissue_labels, self.reference_hu, self.body_mask, self.metal_mask, self.spacing_mm
        )


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


def region_metrics(image_hu: Tensor, truth: Truth) -> dict[str, Tensor]:
    """RMSE, MAE and bias in HU by shell and by tissue; NaN where the slice has none of it.

    Args:
        image_hu: HU, ``(..., slice, row, column)``.
        truth: The case.
    """
    masks = truth.shells | truth.tissues
    return {
        f"{kind}_hu_{name}": metric(image_hu, truth.reference_hu, masks[name])
        for name in REGIONS
        for kind, metric in (("rmse", rmse), ("mae", mae), ("bias", bias))
    }


def texture_metrics(image_hu: Tensor, truth: Truth, pasted: Tensor, ssim_aapm: Tensor) -> dict[str, Tensor]:
    """Streaks, noise, contrast, sharpness, bone, metal and proton range, by :data:`TEXTURE_METRICS`.

    Args:
        image_hu: HU, ``(method, slice, row, column)``, without metal pasted in.
        truth: The case.
        pasted: Bool ``(method,)``: whether a method's output gets the segmented metal pasted back in, as
            all completions do; else metal is what the image itself shows of it.
        ssim_aapm: From :func:`image_metrics`, ``(method, slice)``.
    """
    spacing, near = truth.spacing_mm, truth.near
    soft = near & (truth.reference_hu > SOFT_HU[0]) & (truth.reference_hu < SOFT_HU[1])
    muscle, fat = truth.tissues["muscle"] & near, truth.tissues["fat"] & near
    ring = metal_distance_mm(truth.metal_mask, spacing) <= RING_MM
    edges = bone_edges(truth.reference_hu, near)
    sharp, sharp_clean = (edge_sharpness(x, edges, spacing) for x in (image_hu, truth.clean_hu))
    noise, noise_clean = masked_std(image_hu, soft), masked_std(truth.clean_hu, soft)
    bone, true_bone = (bone_mask(x, truth.scored) for x in (image_hu, truth.reference_hu))
    shown = (image_hu > METAL_ABOVE_HU) & (truth.body_mask | truth.metal_mask)
    metal = torch.where(pasted[:, None, None, None], truth.metal_mask, shown)
    shafts = shaft_errors(metal, truth.metal_mask, spacing)
    aapm = scored_pixels(find_protocol("aapm"), truth.body_mask, truth.metal_mask)
    return {
        "artifact_index_hu": artifact_index(image_hu, truth.clean_hu, soft),
        "noise_sd_hu": noise,
        "streak_hu": streak_amplitude(image_hu, truth.reference_hu, truth.scored),
        "ring_streaks_hu": ring_streaks(image_hu, truth.scored, ring, spacing),
        "cnr_muscle_fat": contrast_to_noise(image_hu, muscle, fat),
        "sharpness_hu_mm": sharp,
        "bone_dice": dice(bone, true_bone),
        "metal_dice": dice(metal, truth.metal_mask),
        "screw_tip_error_mm": shafts.tip,
        "screw_diameter_error_mm": shafts.diameter,
        "rmse_wepl_mm": water_path_error_mm(image_hu, truth.reference_hu, truth.scored, near, spacing),
        "rmse_hu_aapm": rmse(image_hu, truth.reference_hu, aapm),
        "noise_error_hu": (noise - noise_clean).abs(),
        "sharpness_error": (sharp / sharp_clean - 1).abs(),
        "dssim_aapm": 1 - ssim_aapm,
        "bone_error": (volume_error(bone, true_bone) + 1 - dice(bone, true_bone)) / 2,
        "metal_error": (volume_error(metal, truth.metal_mask) + 1 - dice(metal, truth.metal_mask)) / 2,
    }


def change_metrics(image_hu: Tensor, truth: Truth) -> dict[str, Tensor]:
    """Mean absolute change of the uncorrected image in HU by distance from metal: what a method altered."""
    change = (image_hu.double() - truth.uncorrected_hu.double()).abs()
    return {f"change_hu_{name}": masked_mean(change, mask) for name, mask in truth.shells.items()}
