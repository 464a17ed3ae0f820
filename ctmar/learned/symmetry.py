"""A network asked several times about a scan, moved by exact symmetries: a better mean, and a spread."""

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.methods.base import Method
from ctmar.networks.wrap import mirror_left_right, roll_views

MOVES = ((False, 0), (True, 0), (False, 5), (True, -5), (False, -11), (True, 11), (False, 18), (True, -18))
"""Mirrored or not, and turned by views: as training saw it, and no multiples of the network's strides."""


def predictions(network: Method, scan: Scan, count: int) -> Tensor:
    """The network's answers under the first ``count`` of :data:`MOVES`, moved back.

    The sinogram of a mirrored or turned patient is a rearrangement of the same bins, so nothing is
    interpolated; a perfect network would always answer the same. Its fill must be at hand: images are
    not moved.

    Args:
        network: In evaluation mode; the beam must wrap.
        scan: A batch.
        count: From 1 to ``len(MOVES)``.

    Returns:
        ``(count, batch, slice, angle, detector)``; only the trace is meant.
    """
    answers = []
    for mirror, views in MOVES[:count]:
        answer = network.trace(moved(scan, mirror, views))
        assert isinstance(answer, Tensor)
        answers.append(moved_back(answer, mirror, views))
    return torch.stack(answers)


def moved(scan: Scan, mirror: bool, views: int) -> Scan:
    """Every scan mirrored or not and turned by the same views; exact, and :func:`moved_back` undoes it."""
    return scan.sinograms(lambda x: roll_views(mirror_left_right(x) if mirror else x, views))


def moved_back(sinogram: Tensor, mirror: bool, views: int) -> Tensor:
    """A sinogram of a moved scan where it was before."""
    turned = roll_views(sinogram, -views)
    return mirror_left_right(turned) if mirror else turned
