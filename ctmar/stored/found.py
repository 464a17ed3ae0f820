"""Stored slices as a scan whose metal is found in the slices themselves."""

import numpy as np
import torch
from torch import Tensor

from ctmar.geometry import ParallelBeam
from ctmar.operators import RayTransform
from ctmar.stored.metal import GROWN_SHARE, BrightVoxels, MetalRule, find_metal
from ctmar.stored.scan import StoredScan, stored_scan


def found_scan(
    images_hu: Tensor,
    ray: RayTransform[ParallelBeam],
    mu_water: float,
    high_hu: float | None = None,
    kvp: float | None = None,
) -> StoredScan:
    """Adjacent stored slices as a scan; by the rule that ``ctmar correct`` has for a whole one.

    Args:
        images_hu: ``(slice, row, column)`` on the pixels of ``ray``, padding as air. The neighbours of the
            middle one have no say in what counts as metal.
        ray: The virtual rays.
        mu_water: Attenuation of water in 1/mm.
        high_hu: What metal is above; found from the histogram of the middle slice where None.
        kvp: Tube voltage, where it is known.
    """
    stored, voxels = images_hu.numpy(), _voxels(images_hu)
    rule = voxels.rule() if high_hu is None else MetalRule(high_hu, GROWN_SHARE * high_hu)
    area_mm2 = ray.grid.spacing_mm**2
    bright = torch.from_numpy(np.stack([find_metal(image, area_mm2, rule) for image in stored]))
    return stored_scan(images_hu, bright, ray, mu_water, clipped=voxels.clipped(rule), kvp=kvp)


def is_clipped(images_hu: Tensor) -> bool:
    """Whether the middle one of adjacent slices ``(slice, row, column)`` is cut off in metal."""
    voxels = _voxels(images_hu)
    return voxels.clipped(voxels.rule())


def _voxels(images_hu: Tensor) -> BrightVoxels:
    """Those of the middle slice."""
    voxels = BrightVoxels()
    voxels.add(images_hu[len(images_hu) // 2].numpy())
    return voxels
