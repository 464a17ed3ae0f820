"""The ray transform, its adjoint and filtered backprojection, with gradients through each."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.choice import Backend, Backends, Beam, announce, best_name, check_name
from ctmar.operators.fan.filter import filter_fan_sinogram
from ctmar.operators.filters import filter_sinogram
from ctmar.operators.rebinning import rebin_fan_to_parallel

Map = Callable[[Tensor], Tensor]
BeamT = TypeVar("BeamT", bound=Beam)
"""The kind of beam: who holds a transform of parallel beams gets a parallel beam from it."""


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


class RayTransform(Generic[BeamT]):
    """Line integrals of images over parallel or fan beams, and the way back.

    ``forward`` is Joseph's method and ``adjoint`` its exact transpose; ``fbp`` filters and
    backprojects pixel by pixel (a ray-driven transpose would leave 2-4 HU of grain). All are
    differentiable, also twice, and accept any leading axes. Threads may share a transform, and it
    goes to other processes by fork or pickle; what a backend holds is made anew there.

    Args:
        grid: The image's pixels.
        beam: The sinogram's rays.
        backend: ``native`` (compiled, CPU), ``triton`` (CUDA), ``torch`` (any device); another
            library's ``astra``, ``skimage`` or ``torch_radon``, whose docstrings say where they are
            less exact; ``auto``, the best of the first three for each tensor's device; or a
            :class:`~ctmar.operators.Backend` of your own by its dotted name, ``module.Class``.

    Raises:
        CtmarError: If there is no such backend, none for this kind of beam, or what it needs is not
            installed.
    """

    def __init__(self, grid: ImageGrid, beam: BeamT, backend: str = "auto") -> None:
        check_name(backend)
        self.grid, self.beam, self.backend = grid, beam, backend
        self._backends = Backends(grid, beam)
        if backend != "auto":
            self._backends.named(backend)  # what is missing is said here, not at the first projection

    def forward(self, image_mu: Tensor) -> Tensor:
        """Line integrals: ``(..., H, W)`` in 1/mm to ``(..., A, D)``, dimensionless."""
        use = self._backend(image_mu)
        return self._apply(image_mu, True, use.forward, use.adjoint)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The exact transpose of :meth:`forward`: ``(..., A, D)`` to ``(..., H, W)``."""
        use = self._backend(sinogram)
        return self._apply(sinogram, False, use.adjoint, use.forward)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ of ``(..., A, D)``: ``(..., H, W)``, in rad times the input's unit."""
        use = self._backend(sinogram)
        return self._apply(sinogram, False, use.backproject, use.backproject_adjoint)

    def fbp(self, sinogram: Tensor, filter: str = "ram-lak") -> Tensor:
        """Filtered backprojection: ``(..., A, D)`` to ``(..., H, W)`` in 1/mm.

        A fan is rebinned to parallel beams first, which measured better than direct weights
        (:mod:`ctmar.operators.fan.filter`, where the direct way is and what it is better at).

        Args:
            sinogram: Line integrals.
            filter: ``ram-lak``, ``shepp-logan``, ``cosine``, ``hamming`` or ``hann``.
        """
        self._check(sinogram, self.beam.shape, "a sinogram")
        if isinstance(self.beam, FanBeam):
            parallel = self.beam.parallel()
            rebinned = rebin_fan_to_parallel(sinogram, self.beam, parallel)
            return RayTransform(self.grid, parallel, self.backend).fbp(rebinned, filter)
        return self.backproject(filter_sinogram(sinogram, self.beam.det_spacing_mm, filter))

    def fbp_direct(self, sinogram: Tensor, filter: str = "ram-lak") -> Tensor:
        """FBP of a fan over a full turn by direct weights, without rebinning; as :meth:`fbp` else."""
        self._check(sinogram, self.beam.shape, "a sinogram")
        if not isinstance(self.beam, FanBeam):
            raise CtmarError(f"fbp_direct is for a FanBeam, got a {type(self.beam).__name__}")
        return self.backproject(filter_fan_sinogram(sinogram, self.beam, filter))

    def _backend(self, x: Tensor) -> Backend:
        if self.backend != "auto":
            return self._backends.named(self.backend)
        name = best_name(x.device.type, self.beam)
        announce(name, x.device.type, type(self.beam).__name__)
        return self._backends.named(name)

    @staticmethod
    def _check(x: Tensor, shape: tuple[int, int], what: str) -> None:
        if tuple(x.shape[-2:]) != shape or x.ndim < 2:
            raise CtmarError(
                f"{what} of this geometry is (..., {shape[0]}, {shape[1]}), got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise CtmarError(f"{what} must hold floating-point numbers, got {x.dtype}")

    def _apply(self, x: Tensor, of_image: bool, apply: Map, transpose: Map) -> Tensor:
        shapes = self.grid.shape, self.beam.shape
        shape, into = shapes if of_image else shapes[::-1]
        self._check(x, shape, "an image" if of_image else "a sinogram")
        batch = x.reshape(-1, *shape)
        out = _Linear.apply(batch, apply, transpose)
        if tuple(out.shape) != (len(batch), *into):
            raise CtmarError(
                f"projector {self.backend!r} must return {(len(batch), *into)}, got {tuple(out.shape)}"
            )
        return out.reshape(*x.shape[:-2], *into)
