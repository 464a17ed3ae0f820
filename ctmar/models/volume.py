"""Stacks of slices through a model of one or three, by a sliding window."""

from typing import Any

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.models.base import Completion
from ctmar.sample import IMAGE_FIELDS, SINOGRAM_FIELDS, MARSample


def complete_volume(model: Completion, sample: MARSample) -> Tensor:
    """Completes every slice of a stack; where windows overlap, their answers are averaged.

    A model of three slices sees each window ``z, z + 1, z + 2`` and completes all of it, so that an inner
    slice is the mean of three answers. A model of one slice, or of any, sees a slice at a time.

    Args:
        model: A completion, in evaluation mode.
        sample: A stack as one case: ``(1, slice, angle, detector)``, any number of slices.

    Returns:
        The completed stack, ``sample.measured``'s shape; bit-equal to it off the trace.

    Raises:
        CtmarError: The stack holds fewer slices than the model needs, or more than one case.
    """
    batch, slices = sample.measured.shape[:2]
    width = model.slices or 1
    if batch != 1 or slices < width:
        required = f"a stack must be one case of {width} slices or more"
        raise CtmarError(f"{required}, got {batch} cases of {slices}")
    total, count = torch.zeros_like(sample.measured), torch.zeros(slices)
    for start in range(slices - width + 1):
        window = slice(start, start + width)
        total[:, window] += model.complete(take_slices(sample, window))
        count[window] += 1
    mean = total / count.to(total)[None, :, None, None]
    return torch.where(sample.metal_trace, mean, sample.measured)


def take_slices(sample: MARSample, window: slice) -> MARSample:
    """Some slices of each case."""
    changed: dict[str, Any] = {
        name: getattr(sample, name)[:, window] for name in SINOGRAM_FIELDS + IMAGE_FIELDS
    }
    return sample._replace(**changed, fills={name: fill[:, window] for name, fill in sample.fills.items()})
