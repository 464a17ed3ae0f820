"""Stand-ins for torch-radon that run on a CPU: what its two APIs compute, and where they fail.

Written after the sources of carterbox/torch-radon 3.0 (``volumes.py``, ``radon.py``, ``pytorch.cpp``,
``backward.cu``) and matteo-ronchetti/torch-radon 1.0. Lengths are in pixels. Where the real library
would fail or give a wrong image, these raise.
"""

import os
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.adapters.torch_radon_backend import TorchRadonBackend
from ctmar.operators.parallel.lines import pixel_lines
from ctmar.operators.parallel.torch_backend import TorchBackend


class TextureCache:
    """A handle on device memory of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'torch_radon_cuda.TextureCache' object")

    def check(self) -> None:
        if self.pid != os.getpid():
            raise RuntimeError("CUDA error: initialization error")


def check_input(name: str, x: Tensor) -> None:
    """What the extension refuses."""
    if not x.is_contiguous():
        raise RuntimeError(f"{name} must be contiguous")
    if x.dtype != torch.float32:
        raise RuntimeError("expected scalar type Float")
    if x.requires_grad and torch.is_grad_enabled():
        raise AssertionError("stand-in: gradients would be the library's, which are no transposes")
    if len(x) == 0:
        raise RuntimeError("CUDA error: invalid argument (a texture of no layers)")


def maps(shape: tuple[int, int], angles: Tensor, bins: int, spacing: float) -> TorchBackend:
    grid = ImageGrid(shape, 1.0)
    beam = ParallelBeam(len(angles), bins, spacing, angles=tuple(angles.tolist()))
    backend = TorchBackend(grid, beam)
    backend._pixels = pixel_lines(grid, beam, np.ones(len(angles)))  # it sums the views, unweighted
    return backend


class Radon:
    """What both APIs share."""

    def __init__(self, angles: Any, bins: int, spacing: float) -> None:
        if isinstance(angles, tuple) and len(angles) == 3:
            raise AssertionError("stand-in: three angles in a tuple are read as (first, last, count)")
        self.angles = angles if isinstance(angles, Tensor) else torch.FloatTensor(angles)
        self.bins, self.spacing = bins, spacing
        self.tex_cache = TextureCache()

    def project(self, x: Tensor) -> Tensor:
        self.tex_cache.check()
        check_input("x", x)
        return maps(tuple(x.shape[-2:]), self.angles, self.bins, self.spacing).forward(x)  # type: ignore[arg-type]

    def backproject(self, sinogram: Tensor, shape: tuple[int, int]) -> Tensor:
        self.tex_cache.check()
        check_input("x", sinogram)
        if len(self.angles) > 4096:
            raise RuntimeError("Can only support up to 4096 angles")
        return maps(shape, self.angles, self.bins, self.spacing).backproject(sinogram) / self.spacing


class Volume2D:
    def __init__(self, center: Any = (0.0, 0.0), voxel_size: Any = (1.0, 1.0)) -> None:
        if tuple(voxel_size) != (1.0, 1.0):
            raise AssertionError("stand-in: voxels other than 1 are backprojected off centre")
        self.height = self.width = -1

    def set_size(self, height: int, width: int) -> None:
        self.height, self.width = height, width


class ParallelBeamV3(Radon):
    def __init__(self, det_count: int, angles: Any, det_spacing: float = 1.0, volume: Any = None) -> None:
        super().__init__(angles, det_count, det_spacing)
        self.volume = Volume2D() if volume is None else volume

    def forward(self, x: Tensor, angles: Any = None) -> Tensor:
        self.volume.set_size(*x.shape[-2:])
        return self.project(x)

    def backward(self, sinogram: Tensor, angles: Any = None, volume: Any = None) -> Tensor:
        volume = self.volume if volume is None else volume
        assert volume.height > 0, "Must use forward before calling backward or specify a volume"
        return self.backproject(sinogram, (volume.height, volume.width))


class RadonV1(Radon):
    def __init__(
        self,
        resolution: int,
        angles: Any,
        det_count: int = -1,
        det_spacing: float = 1.0,
        clip_to_circle: bool = False,
    ) -> None:
        super().__init__(angles, det_count if det_count > 0 else resolution, det_spacing)
        self.resolution = resolution
        assert not clip_to_circle, "stand-in: the circle is not scaled by det_spacing"
        assert resolution % 16 == 0, f"Size of images must be multiple of 16, got {resolution}"

    def forward(self, x: Tensor) -> Tensor:
        assert x.size(1) == x.size(2) == self.resolution, "Input images must be square"
        return self.project(x)

    def backprojection(self, sinogram: Tensor) -> Tensor:
        return self.backproject(sinogram, (self.resolution, self.resolution))

    backward = backprojection


def install(patch: pytest.MonkeyPatch, version: str) -> None:
    """Puts the stand-in of ``v1`` or ``v3`` in the library's place and lets the adapter use a CPU."""
    module = ModuleType("torch_radon")
    classes = (
        {"ParallelBeam": ParallelBeamV3, "Volume2D": Volume2D} if version == "v3" else {"Radon": RadonV1}
    )
    for name, value in classes.items():
        setattr(module, name, value)
    patch.setitem(sys.modules, "torch_radon", module)
    patch.setattr(TorchRadonBackend, "device_type", "cpu")
