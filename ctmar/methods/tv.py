"""Iterative completion: the trace as unknown, total variation of the image as the knowledge of it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import Classical, Method, filled
from ctmar.methods.li import linear_interpolation
from ctmar.methods.nmar import NMAR
from ctmar.operators import RayTransform

STEPS = 10
STRENGTH_HU = 50.0
DENOISING_STEPS = 15
DUAL_STEP = 0.24
"""Gradient descent on the dual, whose Lipschitz constant is 8, converges below 2/8."""


@dataclass(frozen=True)
class TV(Classical):
    """The trace as unknown, total variation as prior (:func:`tv_completion`).

    Attributes:
        start: The method that the iteration starts from.
        steps: Iterations.
        strength_hu: Weight of the total variation.
    """

    name = "tv"

    start: Method = field(default_factory=NMAR)
    steps: int = STEPS
    strength_hu: float = STRENGTH_HU

    def trace(self, scan: Scan) -> Tensor:
        """The iterate after the last step."""
        begin = filled(scan, self.start)
        cases = zip(scan.measured, scan.metal_trace, begin, scan.mu_water, strict=True)
        options: dict[str, Any] = {"steps": self.steps, "strength_hu": self.strength_hu}
        return torch.stack(
            [tv_completion(p, trace, scan.ray, float(mu), first, **options) for p, trace, first, mu in cases]
        )


def denoise_tv(
    image: Tensor, strength: float, steps: int = DENOISING_STEPS, dual: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``arg min_x ½ ‖x - image‖² + strength · TV(x)``, isotropic, by projected gradient on the dual.

    Chambolle, J. Math. Imaging Vis. 20:89 (2004), in the projected form of Beck & Teboulle, IEEE TIP
    18:2419 (2009), section III. The mean of the image stays.

    Args:
        image: ``(..., row, column)``.
        strength: In the image's unit, positive.
        steps: Steps on the dual.
        dual: Where to start, ``(2, ..., row, column)``, from an earlier call; 0 if None.

    Returns:
        The denoised image, and the dual to start the next call from.
    """
    if not strength > 0:
        raise CtmarError(f"strength must be positive, got {strength!r}")
    field = torch.zeros_like(torch.stack([image, image])) if dual is None else dual
    for _ in range(steps):
        field = field + DUAL_STEP * gradient(divergence(field) - image / strength)
        field = field / field.square().sum(0).sqrt().clamp(min=1)
    return image - strength * divergence(field), field


def gradient(image: Tensor) -> Tensor:
    """Differences to the next row and to the next column, ``(2, ..., row, column)``; 0 at the far edge."""
    out = torch.zeros_like(torch.stack([image, image]))
    out[0, ..., :-1, :] = image[..., 1:, :] - image[..., :-1, :]
    out[1, ..., :-1] = image[..., 1:] - image[..., :-1]
    return out


def divergence(field: Tensor) -> Tensor:
    """Minus the transpose of :func:`gradient`."""
    rows, columns = field
    out = torch.zeros_like(rows)
    out[..., :-1, :] += rows[..., :-1, :]
    out[..., 1:, :] -= rows[..., :-1, :]
    out[..., :-1] += columns[..., :-1]
    out[..., 1:] -= columns[..., :-1]
    return out


def tv_completion(
    measured: Tensor,
    metal_trace: Tensor,
    ray: RayTransform,
    mu_water: float,
    start: Tensor,
    *,
    steps: int = STEPS,
    strength_hu: float = STRENGTH_HU,
) -> Tensor:
    """Alternates between the image of least variation and the data that were measured.

    Each step reconstructs, makes the image non-negative and of less total variation, projects it and
    puts the projection on the trace, brought to meet the measured data at each run's ends by LI of
    the difference; off the trace the measurement stands. The scheme of iTV (Ritschl, Bergner,
    Fleischmann & Kachelrieß, Phys. Med. Biol. 56:1545, 2011), the data kept by filling in instead of
    by weights, so that a filtered backprojection serves as the data step.

    Args:
        measured: ``(..., angle, detector)``; what lies behind metal is not looked at.
        metal_trace: Bool, same shape.
        ray: Ray transform.
        mu_water: Attenuation of water in 1/mm.
        start: A completion to start from (NMAR's saves steps over LI's).
        steps: Number of steps.
        strength_hu: Weight of the total variation; a disc of r pixels loses ``2 strength / r`` of its
            contrast in each step, which the measured data give back.

    Returns:
        The completed sinogram; bit-equal to ``measured`` off the trace.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise CtmarError(f"steps must be a positive whole number, got {steps!r}")
    completed, dual = start, None
    for _ in range(steps):
        image = ray.fbp(completed).clamp(min=0)
        image, dual = denoise_tv(image, strength_hu / 1000 * mu_water, dual=dual)
        projected = ray.forward(image)
        bridge = linear_interpolation(measured - projected, metal_trace) + projected
        completed = torch.where(metal_trace, bridge, measured)
    return completed
