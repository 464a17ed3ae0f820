"""Planted lesions: discs of known place and contrast near metal, and what a method makes of them."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.metrics.masks import METAL_MARGIN_MM, NEAR_MM, metal_distance_mm

FLAT_HU = (-30.0, 130.0)
"""Lesions are planted where the reference is soft tissue all over the disc."""


@dataclass(frozen=True)
class Lesion:
    """A disc of constant contrast.

    Attributes:
        row: Of its centre, in pixels.
        column: Of its centre, in pixels.
        radius_mm: Radius.
        contrast_hu: Added to the tissue.
    """

    row: int
    column: int
    radius_mm: float
    contrast_hu: float

    def image_hu(self, shape: tuple[int, int], spacing_mm: float) -> Tensor:
        """The disc alone, ``shape``, its edge a ramp of one pixel."""
        return self.contrast_hu * _disc(self, shape, spacing_mm, self.radius_mm)


def _distance_mm(lesion: Lesion, shape: tuple[int, int], spacing_mm: float) -> Tensor:
    rows, columns = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    return torch.hypot((rows - lesion.row).float(), (columns - lesion.column).float()) * spacing_mm


def _disc(lesion: Lesion, shape: tuple[int, int], spacing_mm: float, radius_mm: float) -> Tensor:
    return ((radius_mm - _distance_mm(lesion, shape, spacing_mm)) / spacing_mm + 0.5).clamp(0, 1)


def choose_sites(
    reference_hu: Tensor,
    body_mask: Tensor,
    metal_mask: Tensor,
    spacing_mm: float,
    rng: np.random.Generator,
    *,
    count: int = 3,
    radius_mm: float = 4.0,
    contrast_hu: float = 60.0,
) -> list[Lesion]:
    """Places near metal at which a disc lies in soft tissue as a whole, its background ring too.

    Args:
        reference_hu: The metal-free truth, ``(row, column)``.
        body_mask: Bool, the same shape.
        metal_mask: Bool, the same shape.
        spacing_mm: Edge of a pixel in mm.
        rng: Source of the choice.
        count: At most so many, each at least four radii from the others.
        radius_mm: Of the discs.
        contrast_hu: Of the discs.

    Returns:
        The lesions; none where there is no room.
    """
    if not (radius_mm > 0 and contrast_hu and count > 0):
        raise CtmarError(
            f"lesions need a count, a radius and a contrast, got {count}, {radius_mm}, {contrast_hu}"
        )
    soft = (reference_hu > FLAT_HU[0]) & (reference_hu < FLAT_HU[1]) & body_mask
    distance = metal_distance_mm(metal_mask, spacing_mm)
    # A stray bright pixel is texture, an organ's edge is not: holes of one pixel do not count.
    depth = distance_transform_edt(np.pad(soft.cpu().numpy(), 1), sampling=spacing_mm)[1:-1, 1:-1]
    room = torch.from_numpy(depth >= radius_mm).to(distance.device)
    fits = room & (distance >= radius_mm + max(METAL_MARGIN_MM, spacing_mm)) & (distance <= NEAR_MM)
    free = fits.nonzero().cpu().numpy()
    sites: list[Lesion] = []
    for row, column in rng.permutation(free):
        apart = all(np.hypot(row - s.row, column - s.column) * spacing_mm >= 4 * radius_mm for s in sites)
        if apart:
            sites.append(Lesion(int(row), int(column), radius_mm, contrast_hu))
        if len(sites) == count:
            break
    return sites


def measured_contrast(image_hu: Tensor, lesion: Lesion, scored: Tensor, spacing_mm: float) -> Tensor:
    """Mean within the disc less the mean in the ring from 1.25 to 2 radii around it, HU.

    Args:
        image_hu: ``(..., row, column)``.
        lesion: Where.
        scored: Bool ``(row, column)``; other pixels do not count.
        spacing_mm: Edge of a pixel in mm.

    Returns:
        float64 of the leading shape; NaN where the ring has no pixel.
    """
    distance = _distance_mm(lesion, (image_hu.shape[-2], image_hu.shape[-1]), spacing_mm).to(scored.device)
    inside = (distance <= lesion.radius_mm - spacing_mm / 2) & scored
    around = (distance >= 1.25 * lesion.radius_mm) & (distance <= 2 * lesion.radius_mm) & scored
    if not (inside.any() and around.any()):
        return torch.full(image_hu.shape[:-2], torch.nan, dtype=torch.float64)
    image = image_hu.double()
    return image[..., inside].mean(-1) - image[..., around].mean(-1)


def patch(image_hu: Tensor, lesion: Lesion, half: int) -> Tensor:
    """The ``2 half + 1`` pixels square around a lesion, edges repeated; ``(..., side, side)``."""
    rows = (torch.arange(-half, half + 1) + lesion.row).clamp(0, image_hu.shape[-2] - 1)
    columns = (torch.arange(-half, half + 1) + lesion.column).clamp(0, image_hu.shape[-1] - 1)
    return image_hu[..., rows[:, None], columns[None, :]]
