"""What of bright pixels is metal, and what a corrected image shows of it."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ctmar.networks.occupancy import seen_metal
from ctmar.units import STORED_MAX_HU

LEAST_SHARE, SHOWN_SHARE = 0.1, 0.5
"""Share of a pixel from which on the rays through it are completed, and from which on it is put back."""
SOURCE_MM2 = 30.0
"""Section of metal from which on streaks may be as bright as metal: that of a screw's shaft."""
DARK_HU, DARK_PLACES, DARK_WITHIN_MM = (-600.0, -200.0), 0.02, 10.0
"""Streaks as bright as metal come with dark ones, darker than fat and brighter than air: so much at the least
of what lies around. Around the metal of ten validation scans it is 5 to 25 %."""
LIGHT_HU, HEAVY_HU = 8000.0, 20000.0
"""What light metal adds to a pixel that it fills, and heavy metal."""


def occupied(image_hu: Tensor, bright: Tensor, spacing_mm: float) -> tuple[Tensor, Tensor]:
    """How much of each bright pixel is metal, and what that adds to it.

    Streaks as bright as metal come with dark ones, and from enough metal. Without these all that is bright is
    metal: thin wires are kept so, and hardware that the network never saw.

    Args:
        image_hu: ``(row, column)`` as stored, padding as air.
        bright: Bool, the same shape.
        spacing_mm: Edge of a pixel.

    Returns:
        The share, 0 to 1, and HU; both 0 where nothing is bright.
    """
    share, heavy = seen_metal(image_hu, bright, spacing_mm)
    mostly = (share >= SHOWN_SHARE).numpy()
    if mostly.sum() * spacing_mm**2 < SOURCE_MM2 or not _beside_dark(image_hu, bright, spacing_mm):
        share, mostly = bright.to(share.dtype), bright.numpy()
    # What metal surrounds, and is as bright, is metal: its middle is seen by starved rays alone.
    sure = ndimage.binary_fill_holes(mostly) & bright.numpy()
    share = torch.where(torch.from_numpy(sure), share.clamp(min=SHOWN_SHARE), share)
    return share, share * torch.lerp(torch.tensor(LIGHT_HU), torch.tensor(HEAVY_HU), heavy)


def raised(image_hu: Tensor, bright: Tensor) -> Tensor:
    """An image that was cut off in metal as if at 3071 HU: what lies at a lower ceiling is raised to that."""
    ceiling = image_hu[bright].max() if bright.any() else image_hu.new_tensor(float(STORED_MAX_HU))
    return torch.where(bright & (image_hu >= ceiling), image_hu.clamp(min=STORED_MAX_HU), image_hu)


def with_borders(corrected_hu: Tensor, stored_hu: Tensor, share: Tensor, added_hu: Tensor) -> Tensor:
    """A corrected image with metal's part of the pixels at its border, of which it fills less than half.

    Without it hardware would end in steps, and be thinner by a pixel than it was. Further off such a share is
    a doubt rather than metal, but in pieces that have no more of it anywhere.

    Args:
        corrected_hu: ``(slice, row, column)``, tissue alone.
        stored_hu: The same shape: no pixel becomes brighter than it was, but by the correction.
        share: The same shape, how much of each pixel is metal.
        added_hu: The same shape, what that adds.
    """
    mostly, some = share >= SHOWN_SHARE, share >= LEAST_SHARE
    beside = F.max_pool2d(mostly.float()[None], 3, 1, 1)[0] > 0
    partly = some & ~mostly & (beside | _without(mostly, some))
    whole = torch.minimum(corrected_hu + added_hu, stored_hu)
    return torch.where(partly, torch.maximum(corrected_hu, whole), corrected_hu)


def _beside_dark(image_hu: Tensor, bright: Tensor, spacing_mm: float) -> bool:
    """Whether there are dark streaks around."""
    reach = max(2, round(DARK_WITHIN_MM / spacing_mm))
    near, around = (
        F.max_pool2d(bright.float()[None], 2 * n + 1, 1, n)[0] > 0 for n in (min(2, reach - 1), reach)
    )
    ring = around & ~near
    dark = (image_hu[ring] > DARK_HU[0]) & (image_hu[ring] < DARK_HU[1])
    return bool(dark.float().mean() > DARK_PLACES) if ring.any() else False


def _without(mostly: Tensor, where: Tensor) -> Tensor:
    """Pieces of ``where`` in which nothing is ``mostly``; all ``(slice, row, column)``."""
    out = []
    for sure, mask in zip(mostly.numpy(), where.numpy(), strict=True):
        pieces, count = ndimage.label(mask, np.ones((3, 3)))
        out.append(np.isin(pieces, np.setdiff1d(np.arange(1, count + 1), pieces[sure])))
    return torch.from_numpy(np.stack(out))
