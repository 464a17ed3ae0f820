"""torch-radon, either API: carterbox v3 (``ParallelBeam``) and matteo-ronchetti v1 (``Radon``); CUDA only.

Both are GPL-3 and are built with nvcc. Their conventions agree with this project's (θ, y up, centre),
in pixels instead of mm.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.adapters.base import Adapter
from ctmar.operators.parallel.lines import view_weights

MOST_ANGLES = 4096
"""The sines and cosines that the library's kernels keep in shared memory."""
BLOCK = 16
"""v1 projects squares whose edge is a multiple of this."""


class TorchRadonBackend(Adapter):
    """torch-radon's ``forward`` and pixel-driven ``backproject``; the two transposes are this project's.

    The library takes its pixel-driven backprojection for the transpose of its projection, which is
    14 % off on a random sinogram. Here gradients are those of Joseph's method and of the exact
    pixel-driven pair, so that **pairs are transposes up to how the library rounds**: texture weights of 8
    bits (v3, Joseph's rays; mismatch expected below 1e-3 on smooth images) and samples along the ray at
    unit steps (v1). Float32 inside. Never run on a GPU by this project: tested against a stand-in.

    A detector offset, more than 4096 views and, with v1, an image with an odd edge are refused.

    Raises:
        CtmarError: For those, and where the library is absent, half installed, or gets CPU tensors.
    """

    name = "torch_radon"
    device_type = "cuda"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        super().__init__(grid, beam)
        self._has_volumes = hasattr(import_torch_radon(), "ParallelBeam")
        if beam.det_offset_mm != 0.0:
            raise CtmarError(f"projector torch_radon needs det_offset_mm=0, got {beam.det_offset_mm:g}")
        if beam.num_angles > MOST_ANGLES:
            raise CtmarError(f"projector torch_radon takes {MOST_ANGLES} angles, got {beam.num_angles}")
        self._square(grid.shape)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        if len(image) == 0:
            return image.new_zeros((0, *self.beam.shape))
        down, across = self._square(self.grid.shape)
        pixels = pad(self._float32(image), (across, across, down, down)).contiguous()
        with _default_stream(image):
            lengths = self._operator(image).forward(pixels)
        return (lengths * self.grid.spacing_mm).to(image.dtype)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        rows, columns = self.grid.shape
        if len(sinogram) == 0:
            return sinogram.new_zeros((0, rows, columns))
        # The library sums the views and divides by its det_spacing, which belongs to the ramp of its own FBP.
        share = torch.from_numpy(view_weights(self.beam)) * self._det_spacing
        weighted = self._float32(sinogram) * share.to(sinogram.device, torch.float32)[:, None]
        weighted = weighted.contiguous()
        with _default_stream(sinogram):
            square = self._operator(sinogram).backward(weighted)
        down, across = self._square(self.grid.shape)
        return square[:, down : down + rows, across : across + columns].to(sinogram.dtype)

    @property
    def _det_spacing(self) -> float:
        """Pixels a bin: voxels are left at 1, since v3 backprojects others off centre."""
        return self.beam.det_spacing_mm / self.grid.spacing_mm

    def _square(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of zeros to put on each side, so that the centre stays."""
        if self._has_volumes:
            return 0, 0
        if shape[0] % 2 or shape[1] % 2:
            raise CtmarError(f"projector torch_radon v1 needs even edges of the image, got {shape}")
        edge = -(-max(shape) // BLOCK) * BLOCK
        return (edge - shape[0]) // 2, (edge - shape[1]) // 2

    def _float32(self, x: Tensor) -> Tensor:
        if x.device.type != self.device_type:
            raise CtmarError(
                f"projector torch_radon works on {self.device_type.upper()} tensors, got one on {x.device}"
            )
        return x.detach().to(torch.float32)

    def _operator(self, x: Tensor) -> Any:
        return self._handle(str(x.device))

    def _make_handle(self, device: str) -> Any:
        library = import_torch_radon()
        # A tensor: three angles in a tuple would be read as (first, last, count).
        angles = torch.tensor(self.beam.angles, dtype=torch.float32)
        try:
            if not self._has_volumes:
                edge = self.grid.shape[0] + 2 * self._square(self.grid.shape)[0]
                return library.Radon(edge, angles, self.beam.det_count, self._det_spacing)
            volume = library.Volume2D()
            volume.set_size(*self.grid.shape)  # or backward would ask for a forward first
            return library.ParallelBeam(self.beam.det_count, angles, self._det_spacing, volume)
        except (NameError, AttributeError) as error:
            raise _half_installed(error) from error


@contextmanager
def _default_stream(x: Tensor) -> Iterator[None]:
    """Orders a call between what is queued on this stream: the library launches on the default one."""
    if not x.is_cuda:
        yield
        return
    with torch.cuda.device(x.device):
        current, default = torch.cuda.current_stream(), torch.cuda.default_stream()
        default.wait_stream(current)
        yield
        current.wait_stream(default)


def import_torch_radon() -> ModuleType:
    """The module, imported without its side effects.

    v3 shows every warning from its import on, and imports a name it never uses from ``turtle``, which
    needs tkinter: slim Pythons have none. v1 prints that its extension is missing and goes on.

    Raises:
        CtmarError: If it is not installed, or its compiled extension is missing or does not load.
    """
    with warnings.catch_warnings():
        try:
            return _import()
        except ModuleNotFoundError as error:
            if error.name == "torch_radon":
                raise CtmarError(
                    "projector torch_radon needs torch-radon, which is not installed:"
                    " conda install -c conda-forge carterbox-torch-radon"
                ) from error
            if error.name in ("tkinter", "_tkinter", "turtle"):
                return _import_without_turtle()
            raise _half_installed(error) from error
        except (ImportError, NameError, OSError) as error:
            if "tkinter" in str(error) or "turtle" in str(error):
                return _import_without_turtle()
            raise _half_installed(error) from error


def _import() -> ModuleType:
    import torch_radon

    module: ModuleType = torch_radon
    if not (hasattr(module, "ParallelBeam") or hasattr(module, "Radon")):
        raise ImportError("it has neither ParallelBeam nor Radon")
    return module


def _import_without_turtle() -> ModuleType:
    """Imports it with a stand-in for ``turtle``, of which it uses nothing."""
    turtle = ModuleType("turtle")
    turtle.width = None  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_radon"]:
        del sys.modules[name]
    before = sys.modules.get("turtle")
    sys.modules["turtle"] = turtle
    try:
        return _import()
    except (ImportError, NameError, OSError) as error:
        raise _half_installed(error) from error
    finally:
        del sys.modules["turtle"]
        if before is not None:
            sys.modules["turtle"] = before


def _half_installed(error: Exception) -> CtmarError:
    return CtmarError(
        f"projector torch_radon needs torch-radon's compiled CUDA extension, which does not load ({error}):"
        " conda install -c conda-forge carterbox-torch-radon, or build it with nvcc for this torch"
    )
