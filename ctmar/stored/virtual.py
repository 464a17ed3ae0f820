"""The rays that a stored image is seen by: parallel ones through the whole of it."""

import math

import torch
from scipy import ndimage
from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators import RayTransform
from ctmar.physics.detector import dilated

TRACE_EPSILON_MM = 0.3
"""Path through metal from which on a ray belongs to the trace; of 0.1, 0.3 and 0.5 mm tried, the best."""
BINS_A_PIXEL = 2
"""Bins half as wide as a pixel lose less beside thin metal: the stent graft's streaks are fewer by 1 % with
MBHC and 7 % with TV, where whole pixels added 2 % and took nothing. On screws and rods it is all the same."""
VIEWS_A_PIXEL = 2.0
"""Views for each pixel of the image's side."""


def virtual_ray(
    shape: tuple[int, int], spacing_mm: float, backend: str = "auto"
) -> RayTransform[ParallelBeam]:
    """Parallel rays half a pixel apart that cover the square image, and with it the reconstruction circle.

    Args:
        shape: Rows and columns.
        spacing_mm: Edge of a pixel.
        backend: Projector backend.
    """
    views = 8 * math.ceil(VIEWS_A_PIXEL * max(shape) / 8)
    bins = 2 * math.ceil(BINS_A_PIXEL * math.hypot(*shape) / 2) + 3
    beam = ParallelBeam(views, bins, spacing_mm / BINS_A_PIXEL)
    return RayTransform(ImageGrid(shape, spacing_mm), beam, backend)


def trace_of(path_mm: Tensor, epsilon_mm: float = TRACE_EPSILON_MM) -> Tensor:
    """The metal trace of a path length ``(..., angle, detector)``: Bool, dilated by one bin."""
    flat = path_mm.reshape(-1, *path_mm.shape[-2:])
    return dilated(flat > epsilon_mm).reshape(path_mm.shape)


def without_metal(image_hu: Tensor, metal: Tensor) -> Tensor:
    """The image with each metal pixel at the value of the nearest pixel that is none; the image if all is."""
    mask = metal.numpy()
    if mask.all():
        return image_hu
    nearest = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
    return image_hu[torch.from_numpy(nearest[0]), torch.from_numpy(nearest[1])]
