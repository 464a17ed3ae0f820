"""Errors on the trace as numbers: plain, or weighted as filtered backprojection weights them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.operators import RayTransform


def trace_error(prediction: Tensor, target: Tensor, trace: Tensor) -> Tensor:
    """``prediction - target`` on the trace and 0 off it, whatever (even NaN) stands there."""
    difference = prediction - target
    return torch.where(trace, difference, torch.zeros_like(difference))


def trace_mse(prediction: Tensor, target: Tensor, trace: Tensor, scale: float = 1.0) -> Tensor:
    """Mean over the trace's bins of the squared error of ``sinogram / scale``.

    Args:
        prediction: Sinogram, any shape; float.
        target: The same shape.
        trace: Bool, the same shape, True where the error counts.
        scale: Fixed positive divisor of the sinogram, dimensionless; 1 gives sinogram units squared.

    Returns:
        A scalar; 0, with a gradient of 0, where the trace is empty.
    """
    return trace_energy(prediction, target, trace, scale).sum() / trace.sum().clamp(min=1)


def trace_energy(prediction: Tensor, target: Tensor, trace: Tensor, scale: float = 1.0) -> Tensor:
    """Squared errors of ``sinogram / scale`` on the trace, summed over each view: ``(..., angle)``."""
    return (trace_error(prediction, target, trace) / scale).square().sum(-1)


def root_mean(energy: Tensor, trace: Tensor, floor: float = 1e-3) -> Tensor:
    """Mean over cases of the root mean square error: each case counts by its error, not by its square.

    Squares let the few cases with steel decide the fit; reports average the root over cases, so does this.

    Args:
        energy: Squared errors of each view ``(batch, slice, angle)``, as :func:`trace_energy` and
            :func:`trace_ramp_energy` give them.
        trace: Bool, ``(batch, slice, angle, detector)``.
        floor: Error below which the root goes over into the square, so that its gradient stays bounded.

    Returns:
        A scalar in the unit of the error; a case without trace adds 0.
    """
    return rooted(energy.flatten(1).sum(1) / trace.flatten(1).sum(1).clamp(min=1), floor)


def rooted(squares: Tensor, floor: float) -> Tensor:
    """The mean of the roots; below ``floor`` each goes over into the square, for a bounded gradient."""
    return ((squares + floor**2).sqrt() - floor).mean()


def fbp_of_bins(ray: RayTransform, sinogram: Tensor) -> Tensor:
    """FBP, float32, of some bins of the detector about its centre; the others are 0."""
    edge = (ray.beam.det_count - sinogram.shape[-1]) // 2
    return ray.fbp(F.pad(sinogram.float(), (edge, edge)))


def ramp_weight(length: int, device: torch.device | None = None) -> Tensor:
    """The ramp filter over ``torch.fft.rfft`` frequencies, scaled to a mean of 1 over all of them.

    It is the transform of the band-limited kernel (Kak & Slaney 1988, eq. 3.61), not ``|ω|`` sampled: so its
    value at ω = 0 is small but positive, as in FBP, and a constant error is not free.

    Args:
        length: Even number of samples of the padded detector.
        device: Where the result lies.

    Returns:
        ``length / 2 + 1`` weights, the last one for the Nyquist frequency.
    """
    if length < 2 or length % 2:
        raise CtmarError(f"length must be an even number of samples, got {length}")
    n = torch.arange(length, dtype=torch.float64)
    n = torch.minimum(n, length - n)
    odd = -1.0 / (torch.pi * n.clamp(min=1)).square()
    kernel = torch.where(n % 2 == 1, odd, torch.zeros_like(odd))
    kernel[0] = 0.25
    return (4 * torch.fft.rfft(kernel).real).to(device=device, dtype=torch.float32)


def trace_ramp_mse(prediction: Tensor, target: Tensor, trace: Tensor, scale: float = 1.0) -> Tensor:
    """The error of :func:`trace_mse` weighted by the ramp filter: the image's error, by Parseval.

    FBP filters with the ramp ``|ω|`` and backprojects, and for a consistent error sinogram the squared
    norm of the image is ``∫∫ |ω| |E(θ, ω)|² dω dθ``: so the error is filtered along the detector by
    ``sqrt|ω|`` before it is squared, ``mean(|F⁻¹(sqrt|ω| F(e))|²)``, computed in the frequency domain.
    White errors cost what they cost in :func:`trace_mse`; slow ones along the detector cost less.

    Args:
        prediction: Sinogram ``(..., angle, detector)``; float.
        target: The same shape.
        trace: Bool, the same shape.
        scale: As in :func:`trace_mse`.

    Returns:
        A scalar per trace bin, so that it compares with :func:`trace_mse`.
    """
    return trace_ramp_energy(prediction, target, trace, scale).sum() / trace.sum().clamp(min=1)


def trace_ramp_energy(prediction: Tensor, target: Tensor, trace: Tensor, scale: float = 1.0) -> Tensor:
    """Energies of each view ``(..., angle)`` whose sum :func:`trace_ramp_mse` divides by the trace's bins."""
    error = trace_error(prediction, target, trace).float() / scale
    # Padded to at least twice the detector: no bin meets another around the corner.
    length = 2 ** (2 * error.shape[-1] - 1).bit_length()
    spectrum = torch.view_as_real(torch.fft.rfft(error, length)).square().sum(-1)
    weight = 2 * ramp_weight(length, error.device)
    weight[0] /= 2
    weight[-1] /= 2
    return (spectrum * weight).sum(-1) / length


def ramp_filtered(error: Tensor) -> Tensor:
    """The error filtered along the detector by ``sqrt|ω|``: its squares add up to those of the image's error.

    Args:
        error: ``(..., angle, detector)``.

    Returns:
        ``(..., angle, n)`` with ``n`` the padded length: the filter reaches beyond the detector.
    """
    length = 2 ** (2 * error.shape[-1] - 1).bit_length()
    spectrum = torch.fft.rfft(error.float(), length) * ramp_weight(length, error.device).sqrt()
    return torch.fft.irfft(spectrum, length)


def absolute(error: Tensor, bins: Tensor) -> Tensor:
    """L1: the absolute errors' sum per trace bin."""
    return error.abs().sum() / bins.clamp(min=1)


def charbonnier(error: Tensor, bins: Tensor, softness: float = 1e-2) -> Tensor:
    """Charbonnier's penalty ``sqrt(e² + ε²) - ε`` (Charbonnier 1994) per trace bin: L1 with a smooth foot."""
    return ((error.square() + softness**2).sqrt() - softness).sum() / bins.clamp(min=1)
