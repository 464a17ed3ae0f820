"""What the rays behind metal still say: their excess over a fill, less what the metal explains."""

import torch
from torch import Tensor

ORDER = 3
"""Powers of the path length that are fitted."""

LEAST_BINS = 4 * ORDER
"""Traces with fewer bins are not fitted: the fit would follow the noise."""


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
