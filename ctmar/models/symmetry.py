"""A network asked several times about a case, moved by exact symmetries: a better mean, and a spread."""

import torch
from torch import Tensor

from ctmar.models.augment import move_back, move_sample
from ctmar.models.completion import NetworkCompletion
from ctmar.sample import MARSample

MOVES = ((False, 0), (True, 0), (False, 5), (True, -5), (False, -11), (True, 11), (False, 18), (True, -18))
"""Mirrored or not, and turned by views: as training saw it, and no multiples of the network's strides."""


def predictions(network: NetworkCompletion, sample: MARSample, count: int) -> Tensor:
    """The network's answers under the first ``count`` of :data:`MOVES`, moved back.

    The sinogram of a mirrored or turned patient is a rearrangement of the same bins, so nothing is
    interpolated; a perfect network would always answer the same.

    Args:
        network: In evaluation mode; the beam must wrap.
        sample: A batch.
        count: From 1 to ``len(MOVES)``.

    Returns:
        ``(count, batch, slice, angle, detector)``; only the trace is meant.
    """
    answers = []
    for mirror, views in MOVES[:count]:
        moved = move_sample(sample, mirror, views)
        answers.append(move_back(network.predict_trace(moved), mirror, views))
    return torch.stack(answers)
