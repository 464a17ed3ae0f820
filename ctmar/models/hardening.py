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
    result = torch.zeros_like(measured)
    with torch.no_grad():
        for index in torch.cartesian_prod(*map(torch.arange, measured.shape[:2])).tolist():
            at = tuple(index)
            trace = metal_trace[at]
            if int(trace.sum()) >= LEAST_BINS:
                excess = (measured[at] - fill[at])[trace]
                result[at][trace] = excess - _explained(metal_path_mm[at][trace], excess)
    return result


def _explained(path_mm: Tensor, excess: Tensor) -> Tensor:
    """The fitted polynomial without constant at each ray; both arguments and the result ``(rays,)``."""
    length = path_mm.double() / path_mm.max().clamp(min=1e-6)
    powers = torch.stack([length**power for power in range(1, ORDER + 1)], dim=1)
    # Normal equations with a little damping: they exist where all lengths are equal, or all 0.
    gram = powers.T @ powers + 1e-6 * len(length) * torch.eye(ORDER, dtype=powers.dtype, device=powers.device)
    return (powers @ torch.linalg.solve(gram, powers.T @ excess.double())).to(excess.dtype)
