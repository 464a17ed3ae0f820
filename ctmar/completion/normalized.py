"""Normalized metal artifact reduction (NMAR): interpolation of the sinogram relative to a prior's.

Meyer, Raupach, Lell, Schmidt & Kachelrieß, Med. Phys. 37:5482 (2010).
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ctmar.completion.interpolation import linear_interpolation
from ctmar.operators import RayTransform
from ctmar.units import AIR_HU, hu_to_mu, mu_to_hu

AIR_BELOW_HU = -500.0
BONE_ABOVE_HU = 300.0
SMOOTHING_MM = 1.4
SMALLEST_SHARE = 0.01


def normalized_interpolation(sinogram: Tensor, metal_trace: Tensor, prior: Tensor) -> Tensor:
    """``LI(p / p_prior) · p_prior`` on the trace.

    Rays that hardly meet the prior are not normalised: ``p_prior`` is floored at 1 % of its slice's
    maximum. Exact for ``prior = p``, equal to LI for a prior constant along each view, unchanged by
    a scale of the prior.

    Args:
        sinogram: ``(..., angle, detector)``.
        metal_trace: Bool, same shape.
        prior: Sinogram of the prior image, same shape, not negative.

    Returns:
        The completed sinogram; bit-equal to the input off the trace.
    """
    largest = prior.amax((-2, -1), keepdim=True)
    floored = torch.maximum(prior, SMALLEST_SHARE * largest)
    # A prior that is empty altogether cannot normalise: fall back to plain interpolation.
    floored = torch.where(largest > 0, floored, 1.0)
    bridge = linear_interpolation(sinogram / floored, metal_trace) * floored
    return torch.where(metal_trace, bridge, sinogram)


def tissue_prior(image_hu: Tensor, metal_mask: Tensor, spacing_mm: float) -> Tensor:
    """The prior image: air, water, and bone at its own value, after smoothing.

    Meyer 2010, section II.B: the image is smoothed and segmented by thresholds; soft tissue becomes
    water, metal too.

    Args:
        image_hu: ``(..., row, column)``, usually the FBP of the LI sinogram.
        metal_mask: Bool, same shape.
        spacing_mm: Pixel size.
    """
    smooth = _smoothed(image_hu, SMOOTHING_MM / spacing_mm)
    prior = torch.where(smooth < AIR_BELOW_HU, AIR_HU, 0.0)
    prior = torch.where(smooth > BONE_ABOVE_HU, smooth, prior)
    return torch.where(metal_mask, 0.0, prior)


def nmar(
    measured: Tensor,
    metal_trace: Tensor,
    metal_mask: Tensor,
    ray: RayTransform,
    mu_water: float,
    interpolated: Tensor | None = None,
) -> Tensor:
    """NMAR with its prior from the LI image.

    Args:
        measured: ``(..., angle, detector)``.
        metal_trace: Bool, same shape.
        metal_mask: Bool image ``(..., row, column)``.
        ray: Ray transform of the two.
        mu_water: Attenuation of water in 1/mm.
        interpolated: The LI sinogram, if it is at hand.

    Returns:
        The completed sinogram; bit-equal to ``measured`` off the trace.
    """
    if interpolated is None:
        interpolated = linear_interpolation(measured, metal_trace)
    image_hu = mu_to_hu(ray.fbp(interpolated), mu_water)
    prior_hu = tissue_prior(image_hu, metal_mask, ray.grid.spacing_mm)
    prior = ray.forward(hu_to_mu(prior_hu, mu_water))
    return normalized_interpolation(measured, metal_trace, prior)


def _smoothed(image: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of the last two axes, edges repeated; ``sigma`` in pixels."""
    radius = max(1, round(3 * sigma))
    offset = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = pad(flat, (radius,) * 4, mode="replicate")
    flat = conv2d(conv2d(flat, kernel[None, None, None, :]), kernel[None, None, :, None])
    return flat.reshape(image.shape)
