"""Where errors are told apart: shells by distance from metal, and tissues; in the slice."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.labels import TISSUES as LABELS
from ctmar.anatomy.labels import VERTEBRAE
from ctmar.anatomy.landmarks import find_canal
from ctmar.errors import CtmarError
from ctmar.metrics.masks import METAL_MARGIN_MM, metal_distance_mm

SHELLS_MM: dict[str, tuple[float, float]] = {
    "0_5mm": (0.0, 5.0),
    "5_10mm": (5.0, 10.0),
    "10_20mm": (10.0, 20.0),
    "20mm_up": (20.0, float("inf")),
}
"""Shells by name: farther from metal than the first, as far as the second at most."""

TISSUES = ("canal", "vertebral_body", "muscle", "fat", "lung")

FAT_HU = (-150.0, -50.0)
"""CT numbers of fat in the reference (Aubrey et al., Acta Physiol. 210:489, 2014: -190 to -30; the middle
of that, so that no partial volume counts)."""


def widened_metal(metal_mask: Tensor, spacing_mm: float) -> Tensor:
    """Metal and what lies within a pixel or 1.5 mm of it, which is never scored; Bool, same shape."""
    return metal_distance_mm(metal_mask, spacing_mm) <= max(spacing_mm, METAL_MARGIN_MM) + 1e-6


def shell_masks(body_mask: Tensor, metal_mask: Tensor, spacing_mm: float) -> dict[str, Tensor]:
    """The body outside the widened metal, divided by distance from metal.

    Args:
        body_mask: Bool, ``(..., row, column)``.
        metal_mask: Bool, the same shape.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        Bool masks by the names of :data:`SHELLS_MM`, disjoint; a slice without metal is far in whole.
    """
    _same_shape(body_mask=body_mask, metal_mask=metal_mask)
    distance = metal_distance_mm(metal_mask, spacing_mm) - 1e-6
    scored = body_mask & ~widened_metal(metal_mask, spacing_mm)
    return {name: scored & (distance > low) & (distance <= high) for name, (low, high) in SHELLS_MM.items()}


def tissue_masks(
    tissue_labels: Tensor, reference_hu: Tensor, body_mask: Tensor, metal_mask: Tensor, spacing_mm: float
) -> dict[str, Tensor]:
    """Tissues outside the widened metal, from labels and the reference, never from a corrected image.

    The canal is the cavity in the vertebral ring and the cord with its margin
    (:func:`~ctmar.anatomy.landmarks.find_canal`, in the slice); the vertebral body is what of a vertebra
    lies before the canal. Muscle and lung are as labelled; fat is what the reference shows between
    :data:`FAT_HU` with all its neighbours.

    Args:
        tissue_labels: uint8 TotalSegmentator ids, ``(..., row, column)``, rows towards the back.
        reference_hu: HU of the metal-free truth, the same shape.
        body_mask: Bool, the same shape.
        metal_mask: Bool, the same shape.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        Bool masks by the names of :data:`TISSUES`, empty where the slice has none.
    """
    _same_shape(
        tissue_labels=tissue_labels, reference_hu=reference_hu, body_mask=body_mask, metal_mask=metal_mask
    )
    flat = tissue_labels.reshape(-1, *tissue_labels.shape[-2:]).cpu().numpy()
    canal = torch.from_numpy(np.stack([_canal(labels, spacing_mm) for labels in flat]))
    canal = canal.reshape(tissue_labels.shape).to(body_mask.device)
    masks = {
        "canal": canal,
        "vertebral_body": _is_any(tissue_labels, VERTEBRAE) & _before(canal),
        "muscle": _is_any(tissue_labels, LABELS["muscle"]),
        "fat": _surrounded((reference_hu > FAT_HU[0]) & (reference_hu < FAT_HU[1])),
        "lung": _is_any(tissue_labels, LABELS["lung"]),
    }
    scored = body_mask & ~widened_metal(metal_mask, spacing_mm)
    return {name: mask & scored for name, mask in masks.items()}


def _canal(labels: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The canal of one slice."""
    thin = Anatomy("slice", np.zeros((1, *labels.shape), np.float32), labels[None], (spacing_mm,) * 3)
    return find_canal(thin).mask[0]


def _is_any(labels: Tensor, ids: tuple[int, ...]) -> Tensor:
    return torch.isin(labels, torch.tensor(ids, dtype=labels.dtype, device=labels.device))


def _before(mask: Tensor) -> Tensor:
    """Rows above the first that ``mask`` touches; none where it is empty."""
    return ~(mask.any(-1, keepdim=True).cummax(-2).values) & mask.any(-1, keepdim=True).any(-2, keepdim=True)


def _surrounded(mask: Tensor) -> Tensor:
    """Pixels whose eight neighbours are in the mask too; those outside the image count as in it."""
    outside = (~mask).double().reshape(-1, 1, *mask.shape[-2:])
    return (max_pool2d(outside, 3, stride=1, padding=1) == 0).reshape(mask.shape)


def _same_shape(**masks: Tensor) -> None:
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    if len(set(shapes.values())) > 1:
        raise CtmarError(f"masks must be of one shape, got {shapes}")
