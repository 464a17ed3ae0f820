"""A U-Net for sinograms of any size, built on MONAI's."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import UNet
from torch import Tensor, nn

from ctmar.errors import CtmarError

NORMS = ("none", "batch", "group", "instance")
"""``batch`` is the default: it fits fastest (near-metal RMSE after 288 steps on 128² realistic cases: batch
88 HU, instance 89, group 92, none 110). ``instance``, MONAI's default, divides by the statistics of the
case itself and so loses its level; a residual to a fill can do without it, a completion from zero cannot."""

GROUPS = 8


def norm_layer(norm: str) -> Any:
    """MONAI's name for one of :data:`NORMS`; raises a CtmarError for any other."""
    if norm not in NORMS:
        raise CtmarError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    if norm == "group":
        return "group", {"num_groups": GROUPS}
    return None if norm == "none" else norm


class SinogramUNet(nn.Module):
    """MONAI's ``UNet`` between a pixel unshuffle and a zero-initialised head, for any input size.

    MONAI's U-Net halves its input with strided convolutions and fails where a size is no multiple of
    the total stride (720 × 729, 360 × 367), so the input is padded and the output cropped: the
    detector by 0, which is what a ray beside the patient measures, the angles by repeating the last
    view (:class:`ctmar.networks.wrap.AngularWrap` moves that beyond the ends of the range).
    Each block of ``downscale`` bins becomes channels before the U-Net and bins again after it: nothing is
    lost, and no convolution runs at full size, where most of the time would go.
    The head starts at 0, so an untrained network returns exactly 0 and a residual model its own fill.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        channels: Channels of each level, from the finest to the coarsest; at least two.
        num_res_units: Convolutions of each residual unit; 0 for one plain convolution a level.
        norm: One of :data:`NORMS`.
        activation: MONAI's name of the activation.
        downscale: Views and bins of the blocks that become channels; one number for square blocks, 1 for
            none. Views lie closer than bins where it matters: ``(4, 2)`` costs half of ``(2, 2)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_res_units: int = 1,
        norm: str = "batch",
        activation: str = "RELU",
        downscale: int | Sequence[int] = 2,
    ) -> None:
        super().__init__()
        block = (downscale, downscale) if isinstance(downscale, int) else tuple(downscale)
        _check(channels, num_res_units, norm, block)
        # Without the unshuffle the finest level halves the input, so that both ways cost the same.
        first_stride = 1 if max(block) > 1 else 2
        self.block, self.channels = block, tuple(channels)
        coarsest = first_stride * 2 ** (len(channels) - 2)
        self.multiples = block[0] * coarsest, block[1] * coarsest
        self.body = UNet(
            spatial_dims=2,
            in_channels=in_channels * math.prod(block),
            out_channels=channels[0],
            channels=tuple(channels),
            strides=(first_stride,) + (2,) * (len(channels) - 2),
            num_res_units=num_res_units,
            act=activation,
            norm=norm_layer(norm),
        )
        self.head = nn.Conv2d(channels[0], out_channels * math.prod(block), kernel_size=1)
        start_at_zero(self.head)
        channels_last(self)

    def forward(self, sinogram: Tensor) -> Tensor:
        """``(batch, in_channels, angle, detector)`` to ``(batch, out_channels, angle, detector)``."""
        angles, bins = sinogram.shape[-2:]
        padded = pad_to(sinogram, self.multiples)
        blocks = to_blocks(padded, self.block).contiguous(memory_format=torch.channels_last)
        result = from_blocks(self.head(self.body(blocks)), self.block)
        return result[..., :angles, :bins]


def start_at_zero(head: nn.Conv2d) -> None:
    """Makes a layer answer 0 to anything."""
    for parameter in head.parameters():
        nn.init.zeros_(parameter)


def channels_last(module: nn.Module) -> None:
    """Lays weights out two to three times as fast as the default on a CPU, and as tensor cores want them."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def encoder_levels(net: SinogramUNet) -> list[nn.Module]:
    """The encoder of a U-Net, from the finest level to the bottom; the modules themselves, not copies."""
    levels: list[nn.Module] = []
    block: Any = net.body.model
    while isinstance(block, nn.Sequential):  # down, skip around the rest, up
        levels.append(block[0])
        block = block[1].submodule
    return [*levels, block]


def to_blocks(sinogram: Tensor, block: tuple[int, ...]) -> Tensor:
    """``torch.nn.functional.pixel_unshuffle`` with blocks of unequal edges.

    Args:
        sinogram: ``(batch, channel, angle, detector)``, multiples of the block.
        block: Views and bins of a block.

    Returns:
        ``(batch, channel * views * bins, angle / views, detector / bins)``.
    """
    batch, channels, angles, bins = sinogram.shape
    a, d = block
    split = sinogram.reshape(batch, channels, angles // a, a, bins // d, d)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * a * d, angles // a, bins // d)


def from_blocks(blocks: Tensor, block: tuple[int, ...]) -> Tensor:
    """The inverse of :func:`to_blocks`."""
    batch, channels, angles, bins = blocks.shape
    a, d = block
    split = blocks.reshape(batch, channels // (a * d), a, d, angles, bins)
    return split.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // (a * d), angles * a, bins * d)


def pad_to(sinogram: Tensor, multiples: tuple[int, int]) -> Tensor:
    """Pads views (by the last one) and bins (by 0) at their ends to multiples."""
    angles, bins = sinogram.shape[-2:]
    padded = F.pad(sinogram, (0, -bins % multiples[1]))
    return F.pad(padded, (0, 0, 0, -angles % multiples[0]), mode="replicate")


def unet(in_channels: int, out_channels: int, **options: Any) -> SinogramUNet:
    """A :class:`SinogramUNet` with the given options, its arguments by name."""
    return SinogramUNet(in_channels, out_channels, **options)


def _check(channels: Sequence[int], num_res_units: int, norm: str, block: tuple[int, ...]) -> None:
    if len(channels) < 2 or any(count < 1 for count in channels):
        raise CtmarError(f"channels must hold two or more positive counts, got {list(channels)}")
    if norm == "group" and any(count % GROUPS for count in channels):
        raise CtmarError(f"channels must be multiples of {GROUPS} for norm=group, got {list(channels)}")
    if num_res_units < 0:
        raise CtmarError(f"num_res_units must be 0 or more, got {num_res_units}")
    if len(block) != 2 or any(edge < 1 for edge in block):
        given = block[0] if len(set(block)) == 1 else list(block)
        raise CtmarError(f"downscale must be 1 or more, or two such numbers, got {given}")
