"""Helgason-Ludwig: what any sinogram of an image must fulfil, and how far a completion is from it."""

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ParallelBeam

ORDERS = 4
"""Moments 0 to this are held to the conditions."""


def helgason_ludwig(sinogram: Tensor, beam: ParallelBeam) -> Tensor:
    """How far a sinogram's moments are from those that an image can have, relative; 0 is consistent.

    The moment ``∫ p(θ, s) s^k ds`` of an image's sinogram is a homogeneous polynomial of degree ``k``
    in ``cos θ`` and ``sin θ`` (Ludwig, Comm. Pure Appl. Math. 19:49, 1966; Helgason 1965). Here ``s`` is
    scaled to the detector's half-width; of each moment up to order 4 that polynomial is fitted, and
    the RMS of what is left over all orders and views is divided by the mean of moment 0. Noise and
    beam hardening leave something too: compare with the clean sinogram's.

    Args:
        sinogram: ``(..., angle, detector)`` of a body that the detector covers.
        beam: Its geometry; five views at least.

    Returns:
        float64 of the leading shape; NaN for an empty sinogram.
    """
    if tuple(sinogram.shape[-2:]) != beam.shape:
        raise CtmarError(f"sinogram must be of {beam.shape}, got {tuple(sinogram.shape[-2:])}")
    bins = (np.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm + beam.det_offset_mm
    s = torch.as_tensor(bins / np.abs(bins).max(), dtype=torch.float64, device=sinogram.device)
    cos, sin = (
        torch.as_tensor(f(beam.theta), dtype=torch.float64, device=s.device) for f in (np.cos, np.sin)
    )
    left = []
    for k in range(ORDERS + 1):
        moment = (sinogram.double() * s**k).sum(-1)
        basis = torch.stack([cos ** (k - j) * sin**j for j in range(k + 1)], dim=-1)
        fitted = moment @ torch.linalg.pinv(basis).T @ basis.T
        left.append((moment - fitted).square().mean(-1))
    mass = sinogram.double().sum((-2, -1)) / beam.num_angles
    return torch.where(mass != 0, torch.stack(left).mean(0).sqrt() / mass.abs(), torch.nan)
