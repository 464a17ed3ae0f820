"""What a method did to the rays that missed the metal."""

import math

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.methods.base import Method


def off_trace_change(completed: Tensor, scan: Scan) -> float:
    """Largest absolute change off the metal trace in any slice, dimensionless; 0.0 is what is promised."""
    change = (completed.double() - scan.measured.double()).abs()
    return float(torch.where(scan.metal_trace, 0.0, change).max())


def bond(
    method: Method | None, image: Tensor, by_fbp: Tensor | None, center: Scan
) -> dict[str, float | bool]:
    """Whether a method could change rays that missed the metal, and by how much it did.

    Args:
        method: None for a row that is no method.
        image: Its centre slice in HU, ``(1, 1, row, column)``.
        by_fbp: The FBP of its completed sinogram; None where it completes none.
        center: The case's centre slice.

    Returns:
        ``off_trace_rms_reprojected`` (:func:`reprojected_change`) and ``changes_untouched_rays``.
    """
    if method is None or not method.own_image:
        return {"off_trace_rms_reprojected": 0.0, "changes_untouched_rays": False}
    changed = math.nan if by_fbp is None else reprojected_change(image, by_fbp, center)
    return {"off_trace_rms_reprojected": changed, "changes_untouched_rays": True}


def reprojected_change(image_hu: Tensor, by_fbp_hu: Tensor, center: Scan) -> float:
    """What an image adds to the FBP of its completed sinogram, projected: RMS over the rays off the trace.

    Dimensionless, in line integrals, of which the completed sinogram's are the measured ones off the trace.
    The difference is projected, so that what projection and reconstruction lose between them does not count.

    Args:
        image_hu: The method's own image, ``(1, 1, row, column)``.
        by_fbp_hu: The FBP of its completed sinogram.
        center: The case's centre slice.
    """
    change = center.ray.forward((image_hu - by_fbp_hu).float() * (float(center.mu_water[0]) / 1000.0))
    untouched = change[~center.metal_trace].double()
    return float(untouched.square().mean().sqrt()) if untouched.numel() else math.nan
