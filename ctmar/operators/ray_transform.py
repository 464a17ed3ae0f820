"""The ray transform, its adjoint and filtered backprojection, with gradients through each."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.anywhere import TorchBackend
from ctmar.operators.filters import filter_sinogram
from ctmar.operators.native import NativeBackend

BACKENDS = ("auto", "native", "torch")
Map = Callable[[Tensor], Tensor]


class Backend(Protocol):
    """Four linear maps on ``(batch, ·, ·)`` tensors; each pair are exact transposes."""

    name: str

    def forward(self, image: Tensor) -> Tensor:
        """Joseph's line integrals."""
        ...

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Their transpose."""
        ...

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ."""
        ...

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """Its transpose."""
        ...


class _Linear(torch.autograd.Function):
    """A linear map whose gradient is its written-out transpose, to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: Map, transpose: Map) -> Tensor:
        ctx.maps = apply, transpose
        return apply(x.contiguous())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        apply, transpose = ctx.maps
        return _Linear.apply(gradients[0], transpose, apply), None, None


class RayTransform:
    """Line integrals of images over parallel beams, and the way back.

    ``forward`` is Joseph's method and ``adjoint`` its exact transpose; ``fbp`` filters and
    backprojects pixel by pixel (a ray-driven transpose would leave 2-4 HU of grain). All are
    differentiable, also twice, and accept any leading axes.

    Args:
        grid: The image's pixels.
        beam: The sinogram's rays.
        backend: ``native`` (compiled, CPU), ``torch`` (any device) or ``auto``, which takes the
            native one for CPU tensors and the torch one for all others.
    """

    def __init__(self, grid: ImageGrid, beam: ParallelBeam, backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise CtmarError(f"projector must be one of {', '.join(BACKENDS)}, got {backend!r}")
        self.grid, self.beam, self.backend = grid, beam, backend
        self._native = NativeBackend(grid, beam)
        self._torch = TorchBackend(grid, beam)

    def forward(self, image_mu: Tensor) -> Tensor:
        """Line integrals: ``(..., H, W)`` in 1/mm to ``(..., A, D)``, dimensionless."""
        use = self._backend(image_mu)
        return self._apply(image_mu, self.grid.shape, "an image", use.forward, use.adjoint)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The exact transpose of :meth:`forward`: ``(..., A, D)`` to ``(..., H, W)``."""
        use = self._backend(sinogram)
        return self._apply(sinogram, self.beam.shape, "a sinogram", use.adjoint, use.forward)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ of ``(..., A, D)``: ``(..., H, W)``, in rad times the input's unit."""
        use = self._backend(sinogram)
        return self._apply(sinogram, self.beam.shape, "a sinogram", use.backproject, use.backproject_adjoint)

    def fbp(self, sinogram: Tensor, filter: str = "ram-lak") -> Tensor:
        """Filtered backprojection: ``(..., A, D)`` to ``(..., H, W)`` in 1/mm.

        Args:
            sinogram: Line integrals.
            filter: ``ram-lak``, ``shepp-logan``, ``cosine``, ``hamming`` or ``hann``.
        """
        self._check(sinogram, self.beam.shape, "a sinogram")
        return self.backproject(filter_sinogram(sinogram, self.beam.det_spacing_mm, filter))

    def _backend(self, x: Tensor) -> Backend:
        if self.backend == "native" or (self.backend == "auto" and x.device.type == "cpu"):
            return self._native
        return self._torch

    @staticmethod
    def _check(x: Tensor, shape: tuple[int, int], what: str) -> None:
        if tuple(x.shape[-2:]) != shape or x.ndim < 2:
            raise CtmarError(
                f"{what} of this geometry is (..., {shape[0]}, {shape[1]}), got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise CtmarError(f"{what} must hold floating-point numbers, got {x.dtype}")

    def _apply(self, x: Tensor, shape: tuple[int, int], what: str, apply: Map, transpose: Map) -> Tensor:
        self._check(x, shape, what)
        out = _Linear.apply(x.reshape(-1, *shape), apply, transpose)
        return out.reshape(*x.shape[:-2], *out.shape[-2:])
