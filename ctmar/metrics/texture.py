"""What errors look like: streaks, noise, contrast and sharpness; one figure a slice, in float64.

Every function takes ``(..., row, column)`` and gives the leading shape; NaN where a mask holds too few
pixels. Masks broadcast over leading axes.
"""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

from ctmar.methods.smoothing import gaussian
from ctmar.metrics.errors import difference, masked_mean

TAIL = 0.05
"""Share of the error's largest and of its smallest values that the streak amplitude averages."""

LEAST_PIXELS = 10
"""Regions with fewer pixels have no texture."""

BONE_EDGE_HU = 150.0
"""Bone begins here, for its edges (AAPM CT-MAR: bone is 150 to 2500 HU)."""

RING_MM = 60.0
SOFT_HU, SOFT_SMOOTHING_MM, SOFT_MARGIN_MM = (-20.0, 100.0), 5.0, 3.0
STREAK_SCALE_MM = 10.0
"""Of :func:`ring_streaks`; of nine settings tried on 30 cases these followed the true streaks best."""


def masked_std(image: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation under the mask (of the population, not of a sample of it)."""
    mean = masked_mean(image, mask)[..., None, None]
    return masked_mean((image.double() - mean).square(), mask).sqrt()


def artifact_index(image_hu: Tensor, clean_hu: Tensor, roi: Tensor) -> Tensor:
    """``√max(0, SD²(image) - SD²(clean))`` in a region, HU: the spread that metal has added.

    Args:
        image_hu: The image to be judged.
        clean_hu: FBP of the metal-free acquisition, with its noise.
        roi: Bool, a region of one tissue near metal.
    """
    added = masked_std(image_hu, roi).square() - masked_std(clean_hu, roi).square()
    return torch.where(_enough(roi, added), added.clamp(min=0).sqrt(), torch.nan)


def streak_amplitude(image_hu: Tensor, reference_hu: Tensor, mask: Tensor) -> Tensor:
    """Mean of the error's top 5 % less the mean of its bottom 5 %, HU (Haneda et al. 2025, AAPM CT-MAR).

    Args:
        image_hu: The image to be judged.
        reference_hu: The metal-free truth.
        mask: Bool, where it is judged; 20 pixels at least.
    """
    error, mask = torch.broadcast_tensors(difference(image_hu, reference_hu), mask)
    return _each_slice(_tails, error, mask)


def _tails(error: Tensor, mask: Tensor) -> float:
    values = error[mask].sort().values
    count = int(TAIL * len(values))
    return float(values[-count:].mean() - values[:count].mean()) if count else torch.nan


def ring_streaks(image_hu: Tensor, body_mask: Tensor, ring: Tensor, spacing_mm: float) -> Tensor:
    """95th less 5th percentile of the high-passed soft tissue in a ring around metal, HU; needs no truth.

    Soft tissue is where the image, smoothed over 5 mm, lies between -20 and 100 HU, without its outer
    3 mm, so that edges of bone and lung do not count; the high-pass takes the average over 10 mm within
    that tissue. Streaks and noise are left. Meant for real scans: it ranks methods on one scan (mean
    rank correlation with the true streak amplitude 0.5), and does not compare scans with each other.

    Args:
        image_hu: The image to be judged.
        body_mask: Bool, the body without the widened metal.
        ring: Bool, where it is judged, such as within :data:`RING_MM` of metal.
        spacing_mm: Edge of a pixel in mm.
    """
    image = image_hu.double()
    body, ring = body_mask.expand(image.shape), ring.expand(image.shape)
    quiet = _average(image, body, SOFT_SMOOTHING_MM / spacing_mm)
    soft = body & (quiet > SOFT_HU[0]) & (quiet < SOFT_HU[1])
    high = image - _average(image, soft, STREAK_SCALE_MM / spacing_mm)
    return _each_slice(_spread, high, ring & _eroded(soft, SOFT_MARGIN_MM, spacing_mm))


def _average(image: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """The Gaussian average over the mask's pixels alone."""
    weight = gaussian(mask.double(), sigma).clamp(min=1e-6)
    return gaussian(torch.where(mask, image, 0.0), sigma) / weight


def _eroded(mask: Tensor, margin_mm: float, spacing_mm: float) -> Tensor:
    """Pixels of the mask farther than the margin from everything outside it."""
    slices = mask.cpu().numpy().reshape(-1, *mask.shape[-2:])
    depth = [distance_transform_edt(np.pad(m, 1), sampling=spacing_mm)[1:-1, 1:-1] for m in slices]
    return torch.from_numpy(np.stack(depth) > margin_mm).reshape(mask.shape).to(mask.device)


def _spread(image: Tensor, mask: Tensor) -> float:
    values = image[mask]
    if len(values) < LEAST_PIXELS:
        return torch.nan
    low, high = torch.quantile(values, torch.tensor([TAIL, 1 - TAIL], dtype=values.dtype))
    return float(high - low)


def contrast_to_noise(image_hu: Tensor, tissue: Tensor, background: Tensor) -> Tensor:
    """``|mean_t - mean_b| / √((SD_t² + SD_b²) / 2)`` of two tissues, dimensionless.

    Args:
        image_hu: The image to be judged.
        tissue: Bool, the one tissue.
        background: Bool, the other.
    """
    contrast = (masked_mean(image_hu, tissue) - masked_mean(image_hu, background)).abs()
    noise = ((masked_std(image_hu, tissue).square() + masked_std(image_hu, background).square()) / 2).sqrt()
    known = _enough(tissue, contrast) & _enough(background, contrast)
    return torch.where(known, contrast / noise, torch.nan)


def gradient_magnitude(image_hu: Tensor, spacing_mm: float) -> Tensor:
    """Sobel's gradient in HU/mm, the image's shape, edges repeated; a plane's slope comes out as it is."""
    image = image_hu.double()
    flat = pad(image.reshape(-1, 1, *image.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    kernels = torch.stack([across, across.T])[:, None].to(image.device) / (8 * spacing_mm)
    return conv2d(flat, kernels).square().sum(1).sqrt().reshape(image.shape)


def edge_sharpness(image_hu: Tensor, edges: Tensor, spacing_mm: float) -> Tensor:
    """90th percentile of Sobel's gradient on known edges, HU/mm (AAPM CT-MAR's sharpness).

    Args:
        image_hu: The image to be judged.
        edges: Bool, from :func:`bone_edges` of the reference.
        spacing_mm: Edge of a pixel in mm.
    """
    steep, edges = torch.broadcast_tensors(gradient_magnitude(image_hu, spacing_mm), edges)
    return _each_slice(_upper, steep, edges)


def _upper(values: Tensor, mask: Tensor) -> float:
    chosen = values[mask]
    return float(torch.quantile(chosen, 0.9)) if len(chosen) >= LEAST_PIXELS else torch.nan


def bone_edges(reference_hu: Tensor, scored: Tensor) -> Tensor:
    """The pixels on both sides of bone's border in the reference, where ``scored``."""
    bone = (reference_hu > BONE_EDGE_HU).double().reshape(-1, 1, *reference_hu.shape[-2:])
    grown = max_pool2d(bone, 3, stride=1, padding=1)
    shrunk = -max_pool2d(-bone, 3, stride=1, padding=1)
    return (grown != shrunk).reshape(reference_hu.shape) & scored


def _enough(mask: Tensor, like: Tensor) -> Tensor:
    return (mask.sum((-2, -1)) >= LEAST_PIXELS).expand(like.shape)


def _each_slice(figure, values: Tensor, mask: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """``figure(values, mask)`` of each slice, float64 of the leading shape."""
    shape = values.shape[-2:]
    pairs = zip(values.reshape(-1, *shape), mask.reshape(-1, *shape), strict=True)
    return torch.tensor([figure(v, m) for v, m in pairs], dtype=torch.float64).reshape(values.shape[:-2])
