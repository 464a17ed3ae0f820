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


def spread_factor(errors: Tensor, spreads: Tensor, coverage: float) -> float:
    """The factor by which spreads must be taken for ``coverage`` of the errors to lie within them.

    Args:
        errors: Any shape.
        spreads: The same shape, positive.
        coverage: Share in (0, 1).
    """
    ratio = (errors.abs() / spreads.clamp(min=1e-9)).flatten().double()
    place = max(0, min(len(ratio) - 1, round(coverage * len(ratio)) - 1))
    return float(ratio.sort().values[place])


def covered(errors: Tensor, spreads: Tensor, factor: float) -> float:
    """Share of the errors within ``factor`` times their spread."""
    return float((errors.abs() <= factor * spreads).double().mean())
