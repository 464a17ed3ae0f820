"""Stacks of slices through a method of one or three, by a sliding window."""

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import Method


def complete_stack(method: Method, scan: Scan) -> Tensor:
    """Completes every slice of a stack; where windows overlap, their answers are averaged.

    A method of three slices sees each window ``z, z + 1, z + 2`` and completes all of it, so that an inner
    slice is the mean of three answers. One of a single slice, or of any, sees a slice at a time.

    Args:
        method: A network in evaluation mode.
        scan: A stack as one scan: ``(1, slice, angle, detector)``, any number of slices.

    Returns:
        The completed stack, ``scan.measured``'s shape; bit-equal to it off the trace.

    Raises:
        CtmarError: The stack holds fewer slices than the method needs, or more than one scan.
    """
    batch, slices = scan.measured.shape[:2]
    width = method.slices or 1
    if batch != 1 or slices < width:
        required = f"a stack must be one case of {width} slices or more"
        raise CtmarError(f"{required}, got {batch} cases of {slices}")
    total, count = torch.zeros_like(scan.measured), torch.zeros(slices)
    for start in range(slices - width + 1):
        window = slice(start, start + width)
        total[:, window] += method.complete(scan.take(window)).sinogram
        count[window] += 1
    mean = total / count.to(total)[None, :, None, None]
    return torch.where(scan.metal_trace, mean, scan.measured)
