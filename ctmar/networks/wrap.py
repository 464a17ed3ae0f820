"""The angular axis of a parallel-beam sinogram is periodic up to a flip of the detector."""

from typing import Any

import torch
from torch import Tensor, nn

from ctmar.errors import CtmarError


def pad_views(sinogram: Tensor, views: int) -> Tensor:
    """Continues a sinogram over [0, π) on both sides by ``p(θ ± π, s) = p(θ, -s)``.

    Args:
        sinogram: ``(..., angle, detector)``, views at ``k π / angle``, detector centred on the axis
            of rotation (:attr:`ctmar.geometry.ParallelBeam.wraps`).
        views: How many views to add before the first and after the last one; at most ``angle``.

    Returns:
        ``(..., angle + 2 * views, detector)``.

    Raises:
        CtmarError: ``views`` is negative or exceeds the number of views.
    """
    num_angles = sinogram.shape[-2]
    if not 0 <= views <= num_angles:
        raise CtmarError(f"views to wrap must lie in [0, {num_angles}], got {views}")
    if views == 0:
        return sinogram
    before = sinogram[..., num_angles - views :, :].flip(-1)
    after = sinogram[..., :views, :].flip(-1)
    return torch.cat([before, sinogram, after], dim=-2)


def roll_views(sinogram: Tensor, views: int) -> Tensor:
    """Rotates the object: view ``k`` of the result is view ``k + views``, flipped where that passes π.

    Exact, without interpolation, under the same conditions as :func:`pad_views`; ``views`` may be
    negative and of any size (``2 * angle`` views are a full turn).
    """
    num_angles = sinogram.shape[-2]
    half_turns, views = divmod(views, num_angles)
    if half_turns % 2:
        sinogram = sinogram.flip(-1)
    if views == 0:
        return sinogram
    return torch.cat([sinogram[..., views:, :], sinogram[..., :views, :].flip(-1)], dim=-2)


def mirror_left_right(sinogram: Tensor) -> Tensor:
    """The sinogram of the object reflected in the y axis, ``p'(θ, s) = p(π - θ, s)``; exact.

    View 0 maps to ``p(π, s) = p(0, -s)``, view ``k > 0`` to view ``angle - k``. Patients are nearly
    symmetric left to right, so the mirrored case is a plausible one. Applied twice it is the identity.
    """
    return torch.cat([sinogram[..., :1, :].flip(-1), sinogram[..., 1:, :].flip(-2)], dim=-2)


class AngularWrap(nn.Module):
    """Runs a network on a sinogram continued over the ends of the angular range, then crops.

    Args:
        net: A module that keeps the size of ``(batch, channel, angle, detector)``.
        views: Views added on each side; 0 leaves the network as it is. Take at least the radius of its
            receptive field for a seamless result.
        symmetric: Average the network with its mirror image along the detector. A convolution does not
            know that the views beyond π are flipped, so only with this does rolling the object
            commute *exactly* with the network in every view; it costs twice the time.
    """

    def __init__(self, net: nn.Module, views: int, symmetric: bool = False) -> None:
        super().__init__()
        if views < 0:
            raise CtmarError(f"wrap_views must be 0 or more, got {views}")
        self.net = net
        self.views = views
        self.symmetric = symmetric

    def forward(self, sinogram: Tensor, *more: Any) -> Tensor:
        """``(batch, channel, angle, detector)`` in; the same size, with the network's channels, out.

        What else the network takes is handed on as it is.
        """
        padded = pad_views(sinogram, self.views)
        result = self.net(padded, *more)
        if self.symmetric:
            result = (result + self.net(padded.flip(-1), *more).flip(-1)) / 2
        return result[..., self.views : self.views + sinogram.shape[-2], :]
