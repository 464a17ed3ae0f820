"""Where the detector's bins lie, and how focal spot and detector blur what reaches them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from ctmar.geometry import FanBeam, ParallelBeam

Floats = NDArray[np.float64]
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def bin_positions_mm(beam: ParallelBeam | FanBeam) -> Floats:
    """Distance ``s`` of each bin's ray from the axis of rotation in mm, signed."""
    if isinstance(beam, FanBeam):
        return np.asarray(beam.src_radius_mm * np.sin(beam.gamma))
    bins = np.arange(beam.det_count) - (beam.det_count - 1) / 2
    return np.asarray(bins * beam.det_spacing_mm + beam.det_offset_mm)


def averaged(fine: Tensor, factor: int) -> Tensor:
    """Mean over the ``factor`` sub-rays of each bin (last axis)."""
    return fine.unflatten(-1, (-1, factor)).mean(-1)


def blur_kernel(focal_spot_mm: float, detector_fwhm_mm: float, spacing_mm: float) -> list[float]:
    """Weights of a focal spot's box and a detector's Gaussian on (sub-)bins of a spacing; sum 1.

    Args:
        focal_spot_mm: Width of the focal spot's image at the axis of rotation: its own width times
            ``1 - src_radius / (src_radius + det_radius)``.
        detector_fwhm_mm: Full width at half maximum of the detector's response, at the axis.
        spacing_mm: Distance between sub-rays there.

    Returns:
        An odd number of weights, ``[1.0]`` for no blur.
    """
    sigma = detector_fwhm_mm / FWHM_PER_SIGMA
    half = math.ceil((focal_spot_mm / 2 + 4 * sigma) / spacing_mm + 0.5) if focal_spot_mm + sigma else 0
    edges: Floats = (np.arange(2 * half + 2, dtype=np.float64) - half - 0.5) * spacing_mm
    box = np.diff(_box_share(edges, focal_spot_mm))
    gauss = np.diff(_gauss_share(edges, sigma))
    kernel = np.convolve(box, gauss, mode="same")
    return [float(weight) for weight in kernel / kernel.sum()]


def _box_share(edges: Floats, width: float) -> Floats:
    """Share of a centred box that lies below each edge."""
    return np.clip(edges / width + 0.5, 0.0, 1.0) if width else (edges > 0).astype(float)


def _gauss_share(edges: Floats, sigma: float) -> Floats:
    """Share of a centred Gaussian that lies below each edge."""
    if not sigma:
        return (edges > 0).astype(float)
    return np.array([0.5 * (1 + math.erf(edge / sigma / math.sqrt(2))) for edge in edges])


def blurred(x: Tensor, kernel: list[float]) -> Tensor:
    """``x`` convolved along its bins (last axis), which go on beyond the detector as they end."""
    if len(kernel) == 1:
        return x
    half = len(kernel) // 2
    wide = pad(x, (half, half), mode="replicate")
    out = torch.zeros_like(x)
    for n, weight in enumerate(kernel):
        if weight:
            out += weight * wide[..., n : n + x.shape[-1]]
    return out


def dilated(trace: Tensor, bins: int = 1) -> Tensor:
    """The trace and ``bins`` bins to either side."""
    return max_pool1d(trace.float(), kernel_size=2 * bins + 1, stride=1, padding=bins) > 0
