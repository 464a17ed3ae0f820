"""What every adapter shares: this project's own maps for what a library lacks, and its handles."""

import os
from typing import Any

from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.choice import Backends


class Adapter:
    """A library's ``forward``; the other three maps are this project's own unless overridden.

    They are Joseph's transpose and the exact pixel-driven pair, from whichever backend is best for
    the tensor's device: no library wrapped here has all four as exact transposes, and gradients and
    FBP need them.

    What a library allocates is made at its first use in each process and on each device, and left
    behind when pickled. A user's own projector of parallel beams may derive from this too; where its
    ``forward`` is not Joseph's, its ``adjoint`` is its own to write.
    """

    name: str

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        self.grid, self.beam = grid, beam
        self._own = Backends(grid, beam)
        self._handles: dict[tuple[int, str], Any] = {}

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        raise NotImplementedError

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of Joseph's line integrals, ``(B, A, D)`` to ``(B, H, W)``."""
        return self._own.best(sinogram.device.type).adjoint(sinogram)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        return self._own.best(sinogram.device.type).backproject(sinogram)

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        return self._own.best(image.device.type).backproject_adjoint(image)

    def _make_handle(self, device: str) -> Any:
        """What the library needs for tensors on ``device``."""
        raise NotImplementedError

    def _handle(self, device: str) -> Any:
        key = os.getpid(), device
        if key not in self._handles:
            self._handles.setdefault(key, self._make_handle(device))
        return self._handles[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}
