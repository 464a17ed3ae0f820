"""Ramp filters for FBP, sampled in the spatial domain so that they carry no DC bias.

Kak & Slaney, *Principles of Computerized Tomographic Imaging* (1988), eq. 3.61: the band-limited
ramp has ``h(0) = 1/(4 τ²)``, ``h(nτ) = -1/(π n τ)²`` for odd n, and 0 for even n.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError

VIEWS_AT_ONCE = 384
"""Views filtered while their padded copies stay in cache.

At 729 bins 256 to 384 are fastest for up to eight slices of 720 views (1.4-1.6 times as fast as 768), and
they keep FBP within three times what goes in and out.
"""

FILTERS = ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")


def window(name: str, frequency: NDArray) -> NDArray:
    """The apodisation at ``frequency`` in cycles per bin, 0 … 0.5."""
    if name == "ram-lak":
        return np.ones_like(frequency)
    if name == "shepp-logan":
        return np.sinc(frequency)
    if name == "cosine":
        return np.cos(math.pi * frequency)
    if name == "hamming":
        return 0.54 + 0.46 * np.cos(2 * math.pi * frequency)
    if name == "hann":
        return 0.5 + 0.5 * np.cos(2 * math.pi * frequency)
    raise CtmarError(f"filter must be one of {', '.join(FILTERS)}, got {name!r}")


def padded_length(det_count: int) -> int:
    """Length for the FFT of views: the least ``2^k`` or ``3 · 2^k`` at which convolution does not wrap round.

    Other products of small primes come closer, but transforms of 1458 take 1.2-1.7 times as long as of 1536.
    """
    least = max(2 * det_count - 1, 1)
    power = 1 << (least - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= least and power >= 4 else power


@lru_cache(maxsize=32)
def _response(name: str, det_count: int, det_spacing_mm: float) -> tuple[int, NDArray]:
    """Padded length and the filter's real frequency response on it, in 1/mm."""
    length = padded_length(det_count)
    n = np.arange(length)
    n = np.minimum(n, length - n)
    kernel = np.zeros(length)
    odd = n % 2 == 1
    kernel[odd] = -1.0 / (math.pi * n[odd] * det_spacing_mm) ** 2
    kernel[0] = 1.0 / (4.0 * det_spacing_mm**2)
    spectrum = np.fft.rfft(kernel).real * det_spacing_mm
    return length, spectrum * window(name, np.fft.rfftfreq(length))


def filter_sinogram(sinogram: Tensor, det_spacing_mm: float, name: str = "ram-lak") -> Tensor:
    """Convolves each view with the ramp; its own transpose.

    Args:
        sinogram: ``(..., angle, detector)``, dimensionless.
        det_spacing_mm: Distance between bins.
        name: One of ``FILTERS``.

    Returns:
        The filtered sinogram in 1/mm, of the same shape.
    """
    bins = sinogram.shape[-1]
    length, response = _response(name, bins, det_spacing_mm)
    gain = torch.as_tensor(response, dtype=sinogram.dtype, device=sinogram.device)
    if sinogram.numel() == 0:
        return sinogram  # the FFT refuses an empty batch
    flat = sinogram.reshape(-1, bins)
    filtered = torch.empty_like(flat)
    for first in range(0, len(flat), VIEWS_AT_ONCE):
        views = slice(first, first + VIEWS_AT_ONCE)
        spectrum = torch.fft.rfft(flat[views], n=length).mul_(gain)
        filtered[views] = torch.fft.irfft(spectrum, n=length)[:, :bins]
    return filtered.reshape(sinogram.shape)
