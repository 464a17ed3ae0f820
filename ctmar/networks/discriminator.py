"""The discriminators of the conditional GAN: of patches, and one built as the generator's encoder."""

from collections.abc import Sequence

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ctmar.errors import CtmarError
from ctmar.networks.unet import (
    GROUPS,
    NORMS,
    SinogramUNet,
    channels_last,
    encoder_levels,
    norm_layer,
    pad_to,
    to_blocks,
)

DISCRIMINATOR_NORMS = ("spectral", *NORMS)
"""``spectral`` (the default) bounds the gradient the generator is given and leaves the level of the
sinogram alone (Miyato 2018); ``instance`` would remove it; ``batch`` sees true and generated apart."""


class Discriminator(nn.Module):
    """``D(x, y)``: judges a sinogram ``y`` given the generator's input ``x``, patch by patch."""

    def forward(self, condition: Tensor, candidate: Tensor) -> Tensor:
        """Logits ``(batch, 1, patch rows, patch columns)``; positive for "true".

        Args:
            condition: ``(batch, condition_channels, angle, detector)``.
            candidate: ``(batch, candidate_channels, angle, detector)``.
        """
        return self.features(condition, candidate)[-1]

    def features(self, condition: Tensor, candidate: Tensor) -> list[Tensor]:
        """What each layer makes of the pair; the logits are the last."""
        raise NotImplementedError


class ConditionalPatchDiscriminator(Discriminator):
    """``D(x, y)`` of equation 7 (docs/theory.md): a logit for each patch of a sinogram, given the inputs.

    MONAI's ``PatchDiscriminator``, whose last output is the logits.

    Args:
        condition_channels: Channels of the generator's input ``x``.
        candidate_channels: Channels of the sinogram ``y``, true or generated.
        channels: Filters of the first layer, doubled in every further one.
        num_layers: Layers after the first; the patch is 34, 70, 142 bins wide for 2, 3, 4 layers.
        norm: One of :data:`DISCRIMINATOR_NORMS`.
    """

    def __init__(
        self,
        condition_channels: int,
        candidate_channels: int,
        *,
        channels: int = 32,
        num_layers: int = 2,
        norm: str = "spectral",
    ) -> None:
        super().__init__()
        if norm not in DISCRIMINATOR_NORMS:
            known = ", ".join(DISCRIMINATOR_NORMS)
            raise CtmarError(f"discriminator_norm must be one of {known}, got {norm!r}")
        if norm == "group" and channels % GROUPS:
            raise CtmarError(f"discriminator_channels must be a multiple of {GROUPS}, got {channels}")
        if num_layers < 1:
            raise CtmarError(f"discriminator_layers must be 1 or more, got {num_layers}")
        self.net = PatchDiscriminator(
            spatial_dims=2,
            channels=channels,
            in_channels=condition_channels + candidate_channels,
            num_layers_d=num_layers,
            norm=norm_layer("none" if norm == "spectral" else norm),
            bias=norm in ("spectral", "none"),
        )
        if norm == "spectral":
            for module in list(self.net.modules()):
                if isinstance(module, nn.Conv2d):
                    spectral_norm(module)
        channels_last(self)

    def features(self, condition: Tensor, candidate: Tensor) -> list[Tensor]:
        """What each layer makes of the pair; the logits are the last."""
        pair = torch.cat([condition, candidate], dim=1).contiguous(memory_format=torch.channels_last)
        return list(self.net(pair))


class EncoderDiscriminator(Discriminator):
    """``D(x, y)`` whose trunk is built as the encoder of a :class:`~ctmar.networks.unet.SinogramUNet`.

    So that it can start from a fitted generator (:meth:`take_trunk`): the first convolutions then take
    the encoder's weights for the condition ``x`` and 0 for the candidate ``y``, the further ones its own.

    Args:
        condition_channels: Channels of the generator's input ``x``.
        candidate_channels: Channels of the sinogram ``y``, true or generated.
        num_layers: Levels of the encoder after the first; a logit speaks of what the deepest one sees.
        channels: Of the generator's U-Net, as the three that follow.
        num_res_units: Of its levels.
        norm: Its norm.
        downscale: Its blocks.
    """

    def __init__(
        self,
        condition_channels: int,
        candidate_channels: int,
        *,
        num_layers: int = 2,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_res_units: int = 1,
        norm: str = "batch",
        downscale: int | Sequence[int] = 2,
    ) -> None:
        super().__init__()
        whole = SinogramUNet(
            condition_channels + candidate_channels,
            1,
            channels=channels,
            num_res_units=num_res_units,
            norm=norm,
            downscale=downscale,
        )
        encoder, levels = encoder_levels(whole), num_layers + 1
        if not 1 <= levels <= len(encoder):
            raise CtmarError(f"discriminator_layers must be from 0 to {len(encoder) - 1}, got {levels - 1}")
        self.block, self.multiples = whole.block, whole.multiples
        self.levels = nn.ModuleList(encoder[:levels])
        self.logit = nn.Conv2d(whole.channels[levels - 1], 1, kernel_size=1)
        channels_last(self)

    def features(self, condition: Tensor, candidate: Tensor) -> list[Tensor]:
        """What each level makes of the pair; the logits are the last."""
        pair = pad_to(torch.cat([condition, candidate], dim=1), self.multiples)
        last = to_blocks(pair, self.block).contiguous(memory_format=torch.channels_last)
        found = []
        for level in self.levels:
            last = level(last)
            found.append(last)
        return [*found, self.logit(last)]

    def take_trunk(self, generator: SinogramUNet) -> None:
        """Copies the encoder of a generator with the same options and ``condition_channels`` inputs."""
        for own, other in zip(self.levels, encoder_levels(generator), strict=False):
            state = own.state_dict()
            for name, value in other.state_dict().items():
                if state[name].shape == value.shape:
                    state[name] = value
                else:  # the first convolutions, which also take the candidate
                    state[name] = torch.zeros_like(state[name])
                    state[name][:, : value.shape[1]] = value
            own.load_state_dict(state)
