"""A U-Net that says how much of each pixel of an image is metal, and how heavy that is."""

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ctmar.networks.unet import SinogramUNet
from ctmar.units import STORED_MAX_HU

WEIGHTS = Path(__file__).with_name("occupancy.safetensors")
CHANNELS = (24, 48, 96, 128)
LOW_HU, HIGH_HU = 2000.0, 3000.0
"""Units of what 12 bits hold, and of what lies above; that is seen by its logarithm."""
LIGHT, HEAVY = "Ti-6Al-4V", "CoCrMo"
"""What counts as 0 and as 1."""
PIXELS_MM = (0.5, 1.05)
"""Pixels of this size are seen as they are; others are brought to :data:`USUAL_MM`."""
USUAL_MM = 0.7
AROUND_MM = 35.0
"""What is looked at around bright pixels, on each side."""
LEAST_SIDE = 128
"""Pixels of a part at the least, where the image has as many."""


class MetalOccupancy(nn.Module):
    """Share of each pixel that metal fills, from the image as it is stored, and how heavy the metal is.

    A threshold takes streaks that are as bright as metal for metal, and cannot say more where values are cut
    off at 12 bits: all that is bright has one value then. Hardware has shapes, streaks run from it and
    between its pieces, and are the stronger the heavier it is; that is seen in the image around. Trained on
    simulated scans of many scanners, cut off or not, by ``scripts/train_occupancy.py``, on pixels of 0.5 to
    1.1 mm.

    The weights that come with ctmar saw 1,300 images: 7,200 steps for the share alone, then 5,864 for both.
    On 256 parts of validation images the Dice of what is mostly metal is 0.93, of 3 % of them under 0.8; in
    metal the second answer is 0.14 off in the mean.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = SinogramUNet(2, 2, channels=CHANNELS)

    def logits(self, image_hu: Tensor) -> Tensor:
        """``(batch, 1, row, column)`` in HU to the logits of :meth:`forward`."""
        low = image_hu.clamp(-1000, STORED_MAX_HU) / LOW_HU
        high = torch.log1p((image_hu - STORED_MAX_HU).clamp(min=0) / HIGH_HU)
        found: Tensor = self.net(torch.cat([low, high], 1))
        return found

    def forward(self, image_hu: Tensor) -> Tensor:
        """``(batch, 1, row, column)`` in HU to ``(batch, 2, row, column)``: the share, and how heavy it is.

        Both 0 to 1; by attenuation titanium counts as 0, steel as 0.83, cobalt-chrome and heavier as 1.
        """
        return self.logits(image_hu).sigmoid()


@lru_cache(maxsize=1)
def occupancy() -> MetalOccupancy:
    """The network with its weights, which come with ctmar; ready to use, on the CPU."""
    net = MetalOccupancy()
    net.load_state_dict(load_file(WEIGHTS))
    return net.requires_grad_(False).eval()


def seen_metal(image_hu: Tensor, bright: Tensor, spacing_mm: float) -> Tensor:
    """How much of each bright pixel is metal, and how heavy that is.

    Args:
        image_hu: ``(row, column)`` as stored, padding as air.
        bright: Bool, the same shape: what may be metal.
        spacing_mm: Edge of a pixel.

    Returns:
        ``(2, row, column)`` as :class:`MetalOccupancy` gives them; 0 where nothing is bright.
    """
    out = torch.zeros(2, *image_hu.shape)
    if not bright.any():
        return out
    rows, columns = (_around(bright.any(axis), spacing_mm) for axis in (1, 0))
    part = image_hu[rows, columns][None, None].float()
    if PIXELS_MM[0] <= spacing_mm <= PIXELS_MM[1]:
        found = occupancy()(part)
    else:
        sides = [max(1, round(n * spacing_mm / USUAL_MM)) for n in part.shape[-2:]]
        found = _resized(occupancy()(_resized(part, sides)), part.shape[-2:])
    out[:, rows, columns] = found[0]
    return torch.where(bright, out, 0.0)


def _resized(images: Tensor, sides: list[int] | torch.Size) -> Tensor:
    return F.interpolate(images, tuple(sides), mode="bilinear", align_corners=False, antialias=True)


def _around(touched: Tensor, spacing_mm: float) -> slice:
    """The rows, or columns, from the first that is touched to the last, and some around."""
    at = torch.nonzero(touched)[:, 0]
    first, last, count = int(at[0]), int(at[-1]) + 1, len(touched)
    margin = max(round(AROUND_MM / spacing_mm), (LEAST_SIDE - (last - first)) // 2)
    return slice(max(0, first - margin), min(count, last + margin))
