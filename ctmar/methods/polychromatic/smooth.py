"""The prior of the second look: an image of little variation that keeps to what the rays behind metal say."""

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.methods.li import linear_interpolation
from ctmar.methods.tv import denoise_tv


def smoothed_prior(
    scan: Scan, completed: Tensor, behind: Tensor, trust: Tensor, steps: int, strength_hu: float
) -> Tensor:
    """Line integrals of an image that is smooth and meets the rays, those behind metal as far as they tell.

    The scheme of :func:`~ctmar.methods.tv.tv_completion` with one thing more: between the steps each ray of
    the trace is drawn to its own inversion as far as that can be trusted.

    Args:
        scan: One slice.
        completed: ``(angle, detector)``, where to start.
        behind: The same shape: each ray's own inversion; read where ``trust`` is not 0.
        trust: The same shape, 0 to 1.
        steps: Steps.
        strength_hu: Weight of the total variation.

    Returns:
        The prior, before it is drawn to the rays once more; equal to what was measured off the trace.
    """
    measured, trace = scan.measured[0, 0], scan.metal_trace[0, 0]
    strength = strength_hu / 1000 * float(scan.mu_water)
    prior, dual = completed, None
    for _ in range(steps):
        image, dual = denoise_tv(scan.ray.fbp(completed).clamp(min=0), strength, dual=dual)
        projected = scan.ray.forward(image)
        bridge = linear_interpolation(measured - projected, trace) + projected
        prior = torch.where(trace, bridge, measured)
        completed = torch.lerp(prior, behind, trust)
    return prior
