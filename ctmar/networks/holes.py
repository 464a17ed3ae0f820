"""U-Nets for inpainting whose convolutions know of holes: gated (learned) and partial (by the mask)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctmar.errors import CtmarError
from ctmar.networks.unet import from_blocks, pad_to, start_at_zero, to_blocks


class GatedConv(nn.Module):
    """``act(norm(conv(x))) * sigmoid(gate(x))``: a soft mask learned at each place (Yu, ICCV 2019, eq. 3)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.both = nn.Conv2d(inputs, 2 * outputs, 3, stride, padding=1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and the mask at their size (which gates do not use)."""
        features, gate = self.both(x).chunk(2, dim=1)
        return F.relu(self.norm(features)) * gate.sigmoid(), _shrunk(known, features)


class PartialConv(nn.Module):
    """A convolution of the known alone, renormalised by how many there were (Liu, ECCV 2018, eq. 1, 2).

    Where nothing under the kernel is known the result is the bias; a place is known from then on if
    anything was.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and which of their places are known by now."""
        features, found = self.linear(x, known)
        return F.relu(self.norm(features)), found

    def linear(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Liu 2018, eq. 1 and 2, without the rest; ``known`` is 0 or 1, ``(batch, 1, angle, detector)``."""
        kernel = torch.ones(1, 1, 3, 3, device=x.device, dtype=known.dtype)
        count = F.conv2d(known, kernel, stride=self.conv.stride, padding=1)
        found = (count > 0).to(x.dtype)
        scaled = self.conv(x * known) * (kernel.numel() / count.clamp(min=1)) * found
        return scaled + self.bias[:, None, None], found


CONVOLUTIONS = {"gated": GatedConv, "partial": PartialConv}


class HoleUNet(nn.Module):
    """A U-Net of gated or partial convolutions between a block rearrangement and a head of zeros.

    Padding, blocks and head are those of :class:`ctmar.networks.unet.SinogramUNet`. A block is known if
    none of its bins is a hole; skips carry their masks along.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kind: One of :data:`CONVOLUTIONS`.
        hole_channel: The channel that is 1 in holes: the trace.
        channels: Channels of each level, from the finest to the coarsest; at least two.
        downscale: Views and bins of a block; one number for square ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kind: str,
        hole_channel: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        downscale: int | Sequence[int] = 2,
    ) -> None:
        super().__init__()
        if kind not in CONVOLUTIONS:
            raise CtmarError(f"network must be one of unet, {', '.join(CONVOLUTIONS)}, got {kind!r}")
        if len(channels) < 2:
            raise CtmarError(f"channels must hold two or more counts, got {list(channels)}")
        self.block = (downscale, downscale) if isinstance(downscale, int) else tuple(downscale)
        coarsest = 2 ** (len(channels) - 1)
        self.multiples = self.block[0] * coarsest, self.block[1] * coarsest
        self.hole_channel = hole_channel
        bins, conv = self.block[0] * self.block[1], CONVOLUTIONS[kind]
        widths = [in_channels * bins, *channels]
        self.down = nn.ModuleList(
            conv(widths[n], widths[n + 1], 1 if n == 0 else 2) for n in range(len(channels))
        )
        self.up = nn.ModuleList(
            conv(channels[n] + channels[n - 1], channels[n - 1]) for n in range(len(channels) - 1, 0, -1)
        )
        self.head = nn.Conv2d(channels[0], out_channels * bins, 1)
        start_at_zero(self.head)

    def forward(self, sinogram: Tensor) -> Tensor:
        """``(batch, in_channels, angle, detector)`` to ``(batch, out_channels, angle, detector)``."""
        angles, bins = sinogram.shape[-2:]
        padded = pad_to(sinogram, self.multiples)
        hole = padded[:, self.hole_channel : self.hole_channel + 1]
        known = 1 - to_blocks(hole, self.block).amax(1, keepdim=True)
        features, held = to_blocks(padded, self.block), []
        for level in self.down:
            features, known = level(features, known)
            held.append((features, known))
        held.pop()
        for level in self.up:
            skip, seen = held.pop()
            features = torch.cat([F.interpolate(features, scale_factor=2), skip], dim=1)
            known = torch.maximum(F.interpolate(known, scale_factor=2), seen)
            features, known = level(features, known)
        return from_blocks(self.head(features), self.block)[..., :angles, :bins]


def _shrunk(known: Tensor, like: Tensor) -> Tensor:
    """The mask at another level's size: known where anything was."""
    return known if known.shape[-2:] == like.shape[-2:] else F.max_pool2d(known, 2)
