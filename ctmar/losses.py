"""What the networks minimise: the adversarial game of eq. 4 and the error on the trace, several ways."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ctmar.errors import CtmarError

ADVERSARIAL_LOSSES = ("minimax", "non_saturating", "least_squares", "hinge")
"""``minimax`` is eq. 4 as written; ``non_saturating`` (the default) differs from it in the generator
alone: it minimises ``-log D`` in place of ``log(1 - D)``, which has the same optimum but a gradient
while the discriminator still wins (Goodfellow 2014, section 3). ``least_squares``: Mao 2017;
``hinge``: Miyato 2018."""


def check_adversarial(kind: str) -> None:
    """Raises a CtmarError where ``kind`` is none of :data:`ADVERSARIAL_LOSSES`."""
    if kind not in ADVERSARIAL_LOSSES:
        raise CtmarError(f"adversarial must be one of {', '.join(ADVERSARIAL_LOSSES)}, got {kind!r}")


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, kind: str = "non_saturating") -> Tensor:
    """What the discriminator minimises, the mean over patches and batch.

    For ``minimax`` and ``non_saturating`` this is ``-(E[log D(x,y)] + E[log(1 - D(x,G))])``, the
    negative of eq. 4, with ``D = sigmoid(logit)`` written through softplus, which never
    takes the logarithm of 0. It is ``2 log 2`` where the discriminator cannot tell.

    Args:
        real_logits: Logits of the true pairs, any shape.
        fake_logits: Logits of the generated pairs.
        kind: One of :data:`ADVERSARIAL_LOSSES`.
    """
    check_adversarial(kind)
    if kind == "least_squares":
        return 0.5 * ((real_logits - 1).square().mean() + fake_logits.square().mean())
    if kind == "hinge":
        return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor, kind: str = "non_saturating") -> Tensor:
    """What the generator minimises in the game, the mean over patches and batch.

    ``minimax`` is ``E[log(1 - D(x,G))]`` of eq. 4 (``-log 2`` at logit 0), ``non_saturating``
    ``-E[log D(x,G)]`` (``log 2`` at logit 0).
    """
    check_adversarial(kind)
    if kind == "minimax":
        return -F.softplus(fake_logits).mean()
    if kind == "least_squares":
        return 0.5 * (fake_logits - 1).square().mean()
    if kind == "hinge":
        return -fake_logits.mean()
    return F.softplus(-fake_logits).mean()


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
    square = energy.flatten(1).sum(1) / trace.flatten(1).sum(1).clamp(min=1)
    return ((square + floor**2).sqrt() - floor).mean()


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


def gradient_error(error: Tensor, bins: Tensor) -> Tensor:
    """Absolute differences of an error between neighbouring views and bins, per trace bin.

    Where a completion misses by a constant it costs nothing inside the trace; at its rim it does.
    """
    across, along = error.diff(dim=-1).abs().sum(), error.diff(dim=-2).abs().sum()
    return (across + along) / bins.clamp(min=1)


def inconsistency(error: Tensor, orders: int = 2) -> Tensor:
    """How far an error is from any that an image could have: Helgason-Ludwig conditions, mean square.

    The moment ``Σ e(θ, s) s^k`` of a sinogram is a homogeneous polynomial of degree ``k`` in ``cos θ`` and
    ``sin θ`` (Ludwig, Comm. Pure Appl. Math. 19:49, 1966). The true sinogram fulfils that, so what the
    error's moments leave is the completion's. ``s`` is in halves of the detector, moments are per bin.

    Args:
        error: ``(..., angle, detector)``, views uniform over [0, π), detector centred on the axis.
        orders: Highest ``k``.
    """
    views, bins = error.shape[-2:]
    make = {"device": error.device, "dtype": torch.float32}
    theta = torch.arange(views, **make) * (torch.pi / views)  # type: ignore[call-overload]
    s = torch.linspace(-1, 1, bins, **make)  # type: ignore[call-overload]
    left = torch.zeros((), device=error.device)
    for k in range(orders + 1):
        moment = (error.float() * s**k).mean(-1)
        basis = torch.stack([theta.cos() ** (k - j) * theta.sin() ** j for j in range(k + 1)], dim=-1)
        fitted = moment @ torch.linalg.pinv(basis).T @ basis.T
        left = left + (moment - fitted).square().mean()
    return left


def feature_error(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features, averaged over its layers (Wang 2018, eq. 4).

    Args:
        real: Features of the true pair; no gradient goes into them.
        fake: Features of the generated one, shapes alike.
    """
    return torch.stack([(a.detach() - b).abs().mean() for a, b in zip(real, fake, strict=True)]).mean()
