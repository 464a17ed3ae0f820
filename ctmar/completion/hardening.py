"""What the rays behind metal still say: their excess over a fill, less what the metal explains."""

import torch
from torch import Tensor

from ctmar.errors import CtmarError

ORDER = 3
"""Powers of the path length that are fitted."""

LEAST_BINS = 4 * ORDER
"""Traces with fewer bins are not fitted: the fit would follow the noise."""

PHOTONS_PER_RAY = 1.0e6
ELECTRONIC_NOISE = 5.0
"""Photons through air and noise of the electronics: those of ``scanner=standard``."""

FILL_ERROR = 0.2
"""RMSE of NMAR's line integrals on the trace of spinal hardware (measured: 0.10 to 0.20)."""


def hardening_residual(measured: Tensor, fill: Tensor, metal_path_mm: Tensor, metal_trace: Tensor) -> Tensor:
    """``measured - fill`` on the trace, less its best fit by a cubic in the length of metal.

    Metal's own attenuation, beam hardening included, is nearly a function of the length ``L`` that a ray
    runs in it, so on each slice's trace ``measured - fill ≈ x1 L + x2 L² + x3 L³`` is fitted by least
    squares. What remains is an estimate of the fill's error that does not depend on the anatomy: good
    where photons came through, noise where none did (``measured`` tells which). ``fill`` plus this is
    metal beam-hardening correction.

    Args:
        measured: Sinogram ``(batch, slice, angle, detector)``, dimensionless.
        fill: The same shape, equal to ``measured`` off the trace.
        metal_path_mm: The same shape, mm.
        metal_trace: Bool, the same shape.

    Returns:
        The same shape, 0 off the trace and on traces of fewer than :data:`LEAST_BINS` bins; no gradient.
    """
    with torch.no_grad():
        excess = torch.where(metal_trace, measured - fill, 0.0)
        path = torch.where(metal_trace, metal_path_mm, 0.0)
        residual = excess - _explained(path.flatten(2), excess.flatten(2)).view_as(excess)
        fitted = metal_trace.sum((-2, -1), keepdim=True) >= LEAST_BINS
        return torch.where(metal_trace & fitted, residual, 0.0)


def hardening_corrected(
    measured: Tensor,
    fill: Tensor,
    metal_path_mm: Tensor,
    metal_trace: Tensor,
    *,
    photons_per_ray: float = PHOTONS_PER_RAY,
    electronic_noise: float = ELECTRONIC_NOISE,
    fill_error: float = FILL_ERROR,
) -> Tensor:
    """Metal beam-hardening correction (MBHC): the measured rays less their metal, where they can be trusted.

    As in :func:`hardening_residual` a cubic in the length of metal explains ``measured - fill``, here
    with each ray weighted by its noise; the rest is added to the fill. Rays that hardly a photon
    passed would bring noise, and several alloys are no function of one length, so the rest is shrunk
    by ``e² / (e² + n² + m²)``: ``e`` the fill's error, ``n`` the ray's noise, ``m`` what the fit leaves
    beyond the two (one number a slice). Verburg & Seco (Phys. Med. Biol. 57:2803, 2012) choose per ray
    between correction and interpolation; this goes over from the one to the other without a seam.

    Args:
        measured: ``(..., angle, detector)``, dimensionless.
        fill: A completion, same shape; NMAR's serves better than LI's.
        metal_path_mm: Length of the rays in metal, same shape, mm.
        metal_trace: Bool, same shape.
        photons_per_ray: Photons that reach a bin through air, for the noise.
        electronic_noise: Standard deviation of the electronics' noise in photons.
        fill_error: Standard deviation of the fill's error on the trace, a line integral.

    Returns:
        The completed sinogram; bit-equal to ``measured`` off the trace, to the fill on traces of fewer
        than :data:`LEAST_BINS` bins.
    """
    for name, value in (("photons_per_ray", photons_per_ray), ("fill_error", fill_error)):
        if not value > 0:
            raise CtmarError(f"{name} must be positive, got {value!r}")
    shape = measured.shape
    ray = (metal_trace, measured, fill, metal_path_mm)
    trace, p, f, path = (x.reshape(-1, shape[-2] * shape[-1]) for x in ray)
    trace = trace & (p != 0)  # an ideal scanner measures nothing behind metal, and says 0
    excess = torch.where(trace, (p - f).double(), 0.0)
    counts = photons_per_ray * torch.exp(-torch.where(trace, p, 0.0).double())
    noise = 1 / counts + (electronic_noise / counts) ** 2
    weight = torch.where(trace, 1 / (noise + fill_error**2), 0.0)
    rest = excess - _cubic(torch.where(trace, path, 0.0).double(), excess, weight)
    # Weighted by their variance the squares of what is left should average 1.
    surplus = (weight * rest.square()).sum(-1, keepdim=True) / trace.sum(-1, keepdim=True).clamp(min=1)
    misfit = (surplus - 1).clamp(min=0) * fill_error**2
    share = fill_error**2 / (fill_error**2 + noise + misfit)
    enough = trace.sum(-1, keepdim=True) >= LEAST_BINS
    rest = torch.where(trace & enough, share * rest, 0.0).to(fill.dtype)
    return torch.where(metal_trace, fill + rest.reshape(shape), measured)


def _cubic(path_mm: Tensor, excess: Tensor, weight: Tensor) -> Tensor:
    """The weighted best fit of a polynomial without constant, at each ray; all ``(slice, ray)``, float64."""
    length = path_mm / path_mm.amax(-1, keepdim=True).clamp(min=1e-6)
    powers = torch.stack([length**power for power in range(1, ORDER + 1)], dim=-1)
    weighted = powers * weight[..., None]
    damping = 1e-6 * weight.sum(-1).clamp(min=1.0)[..., None, None]
    gram = weighted.mT @ powers + damping * torch.eye(ORDER, dtype=powers.dtype, device=powers.device)
    coefficients = torch.linalg.solve(gram, weighted.mT @ excess[..., None])
    return (powers @ coefficients)[..., 0]


def _explained(path_mm: Tensor, excess: Tensor) -> Tensor:
    """The polynomial without constant fitted to each slice, at each ray; all are ``(batch, slice, ray)``.

    Rays off the trace, 0 in both arguments, do not take part.
    """
    length = path_mm.double() / path_mm.amax(-1, keepdim=True).clamp(min=1e-6)
    powers = torch.stack([length**power for power in range(1, ORDER + 1)], dim=-1)
    # Normal equations with a little damping: they exist where all lengths are equal, or all 0.
    rays = (path_mm > 0).sum(-1).clamp(min=1)[..., None, None]
    gram = powers.mT @ powers + 1e-6 * rays * torch.eye(ORDER, dtype=powers.dtype, device=powers.device)
    coefficients = torch.linalg.solve(gram, powers.mT @ excess.double()[..., None])
    return (powers @ coefficients)[..., 0].to(excess.dtype)
