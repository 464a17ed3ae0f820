"""A U-Net on the images of sinograms, whose answer comes back as a sinogram: both domains in one network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.networks.unet import SinogramUNet
from ctmar.operators import RayTransform

IMAGE_SCALE = 200.0
"""Factor of the images that the network sees, mm: water of a sinogram divided by 4 becomes 1."""
LEAST, MOST = -1.0, 4.0
"""What these are cut to: metal is as bright as it may be, its streaks are not told apart beyond."""
ANSWER_PER_MM = 0.002
"""Unit of the network's answer: about 100 HU."""


class ImageDomainUNet(nn.Module):
    """``forward projection of U-Net(FBP of each channel)``.

    What a completion got wrong lies along streaks of its image, and bone, air and metal lie where they are
    seen; in the sinogram each is spread over all views. The answer is projected, so that whoever adds it to
    the trace alone leaves the other rays as they were measured. It starts at 0.

    Args:
        in_channels: Sinograms that come.
        out_channels: Sinograms that go.
        shape: Rows and columns of the images.
        spacing_mm: Their pixels' side. Both are the network's own: scans of other pixels are seen on these.
        channels: As the others, of the :class:`~ctmar.networks.unet.SinogramUNet` on the images.
        num_res_units: The same.
        norm: The same.
        activation: The same.
        downscale: The same, of rows and columns.
    """

    takes_beam = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        shape: Sequence[int],
        spacing_mm: float,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_res_units: int = 1,
        norm: str = "batch",
        activation: str = "RELU",
        downscale: int | Sequence[int] = 2,
    ) -> None:
        super().__init__()
        rows, columns = shape
        self.grid = ImageGrid((rows, columns), spacing_mm)
        self.net = SinogramUNet(
            in_channels,
            out_channels,
            channels=channels,
            num_res_units=num_res_units,
            norm=norm,
            activation=activation,
            downscale=downscale,
        )
        self._rays: dict[ParallelBeam, RayTransform[ParallelBeam]] = {}

    def forward(self, sinogram: Tensor, beam: ParallelBeam) -> Tensor:
        """``(batch, in_channels, angle, detector)`` to ``(batch, out_channels, angle, detector)``.

        Args:
            sinogram: The channels, as :func:`ctmar.inputs.stack_inputs` gives them.
            beam: Their rays.
        """
        if beam not in self._rays:
            self._rays[beam] = RayTransform(self.grid, beam)
        ray = self._rays[beam]
        with torch.autocast(sinogram.device.type, enabled=False):
            images = (IMAGE_SCALE * ray.fbp(sinogram.float())).clamp(LEAST, MOST)
        answer = self.net(images).float()
        return ray.forward(ANSWER_PER_MM * answer)
