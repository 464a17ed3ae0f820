"""What the rays behind metal still say: their excess over a fill, less what the metal explains."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import Classical, Method, filled
from ctmar.methods.nmar import NMAR

ORDER = 3
"""Powers of the path length that are fitted."""

LEAST_BINS = 4 * ORDER
"""Traces with fewer bins are not fitted: the fit would follow the noise."""

PHOTONS_PER_RAY = 1.0e6
ELECTRONIC_NOISE = 5.0
"""Photons through air and noise of the electronics: those of ``scanner=standard``."""

FILL_ERROR = 0.2
"""RMSE of NMAR's line integrals on the trace of spinal hardware (measured: 0.10 to 0.20)."""


@dataclass(frozen=True)
class MBHC(Classical):
    """Metal beam-hardening correction (:func:`hardening_corrected`) of another method's completion.

    Attributes:
        fill: The method whose completion is corrected by what was measured behind metal.
        photons_per_ray: Photons that reach a bin through air; None (a noise-free scanner) for no noise.
        electronic_noise: Standard deviation of the electronics' noise in photons.
        fill_error: Standard deviation of the fill's error on the trace.
    """

    name = "mbhc"

    fill: Method = field(default_factory=NMAR)
    photons_per_ray: float | None = PHOTONS_PER_RAY
    electronic_noise: float = ELECTRONIC_NOISE
    fill_error: float = FILL_ERROR

    def trace(self, scan: Scan) -> Tensor:
        """The fill and what the metal does not explain."""
        photons = float("inf") if self.photons_per_ray is None else self.photons_per_ray
        return hardening_corrected(
            scan.measured,
            filled(scan, self.fill),
            scan.metal_path_mm,
            scan.metal_trace,
            photons_per_ray=photons,
            electronic_noise=self.electronic_noise,
            fill_error=self.fill_error,
        )


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
        rays = _Rays(metal_trace)
        excess = (rays.of(measured) - rays.of(fill)).double()
        path = rays.of(metal_path_mm).double()
        left = [
            e - _cubic(length, e, torch.ones_like(e)) if len(e) >= LEAST_BINS else torch.zeros_like(e)
            for length, e in zip(rays.split(path), rays.split(excess), strict=True)
        ]
        return rays.back(torch.zeros_like(measured), left)


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
    rays = _Rays(metal_trace & (measured != 0))  # an ideal scanner measures nothing behind metal, and says 0
    p, f, path = (rays.of(x).double() for x in (measured, fill, metal_path_mm))
    noise = ray_variance(p, photons_per_ray, electronic_noise)
    slices = zip(rays.split(path), rays.split(p - f), rays.split(noise), strict=True)
    left = [_shrunk_rest(length, excess, var, fill_error) for length, excess, var in slices]
    completed = torch.where(metal_trace, fill, measured)
    return completed + rays.back(torch.zeros_like(completed), left)


def ray_variance(
    measured: Tensor, photons_per_ray: float = PHOTONS_PER_RAY, electronic_noise: float = ELECTRONIC_NOISE
) -> Tensor:
    """Variance of measured line integrals by photons and electronics, to first order, any shape."""
    counts = photons_per_ray * torch.exp(-measured)
    return 1 / counts + (electronic_noise / counts) ** 2


def _shrunk_rest(path: Tensor, excess: Tensor, noise: Tensor, fill_error: float) -> Tensor:
    """What a slice's rays are corrected by, from their variances ``noise``; all ``(ray,)``, float64."""
    if len(path) < LEAST_BINS:
        return torch.zeros_like(path)
    weight = 1 / (noise + fill_error**2)
    rest = excess - _cubic(path, excess, weight)
    # Weighted by their variance the squares of what is left should average 1.
    surplus = (weight * rest.square()).mean()
    misfit = (surplus - 1).clamp(min=0) * fill_error**2
    return fill_error**2 / (fill_error**2 + noise + misfit) * rest


class _Rays:
    """The rays of a mask, slice after slice, out of sinograms and back: the fits take no others.

    A trace is a tenth to a third of a sinogram, and the fits are in float64.
    """

    def __init__(self, mask: Tensor) -> None:
        self.place = mask.reshape(-1).nonzero()[:, 0]
        self.counts: list[int] = mask.reshape(-1, mask.shape[-2] * mask.shape[-1]).sum(-1).tolist()

    def of(self, sinogram: Tensor) -> Tensor:
        """The rays of all slices, ``(ray,)``."""
        return sinogram.reshape(-1)[self.place]

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """The rays of each slice."""
        return values.split(self.counts)

    def back(self, sinogram: Tensor, values: list[Tensor]) -> Tensor:
        """The sinogram, contiguous, with each slice's values put into it."""
        sinogram.view(-1)[self.place] = torch.cat(values).to(sinogram.dtype)
        return sinogram


def _cubic(path_mm: Tensor, excess: Tensor, weight: Tensor) -> Tensor:
    """The weighted best fit of a polynomial without constant, at each ray; all ``(ray,)``, float64."""
    length = path_mm / path_mm.amax().clamp(min=1e-6)
    powers = torch.stack([length**power for power in range(1, ORDER + 1)])
    weighted = powers * weight
    # Normal equations with a little damping: they exist where all lengths are equal, or all 0.
    damping = 1e-6 * weight.sum().clamp(min=1.0)
    gram = weighted @ powers.mT + damping * torch.eye(ORDER, dtype=powers.dtype, device=powers.device)
    return torch.linalg.solve(gram, weighted @ excess) @ powers
