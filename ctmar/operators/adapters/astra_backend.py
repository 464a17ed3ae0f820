"""The ASTRA toolbox (GPL-3, https://astra-toolbox.com): an optional extra, never imported on its own."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.adapters.base import Adapter


class AstraBackend(Adapter):
    """ASTRA's ``linear`` projector on CPU tensors, its ``cuda`` projector on CUDA tensors; float32 inside.

    On a CPU ``forward`` and ``adjoint`` are ASTRA's and exact transposes: Joseph's method, which
    walks each ray with coordinates in float32 (8e-5 from ours on an image of 512 × 512). On CUDA only
    ``forward`` is ASTRA's, since its backprojection there is voxel-driven and no transpose; that path
    has never run on a GPU. The pixel-driven pair is always ours: ASTRA has none with an exact
    transpose, and an FBP with the ray-driven one leaves 2-4 HU of grain.

    Slices are spread over ``torch.get_num_threads()`` threads on a CPU; ASTRA itself has none in 2D.
    """

    name = "astra"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        super().__init__(grid, beam)
        import_astra()

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        return self._project("FP", image, self.beam.shape)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`; on CUDA of Joseph's method, up to the texture's rounding."""
        if sinogram.device.type != "cpu":
            return super().adjoint(sinogram)
        return self._project("BP", sinogram, self.grid.shape)

    def _project(self, kind: str, x: Tensor, shape: tuple[int, int]) -> Tensor:
        if x.device.type not in ("cpu", "cuda"):
            raise CtmarError(f"projector astra works on CPU and CUDA tensors, got one on {x.device}")
        projector = self._handle(str(x.device)).id
        source = x.detach().to(torch.float32).contiguous()
        out = torch.zeros((len(x), *shape), dtype=torch.float32, device=x.device)
        apply = getattr(import_astra().projector, f"direct_{kind}")

        def one(n: int) -> None:
            apply(projector, source[n], out=out[n])

        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        with ThreadPoolExecutor(torch.get_num_threads() if x.device.type == "cpu" else 1) as pool:
            list(pool.map(one, range(len(x))))
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        # The vectors are in pixels: a line integral is that many pixels long.
        return out.mul_(self.grid.spacing_mm).to(x.dtype)

    def _make_handle(self, device: str) -> "_Projector":
        kind = "linear" if device == "cpu" else "cuda"
        return _Projector(import_astra(), kind, self.grid, self.beam)


class _Projector:
    """ASTRA's number of a projector, given back when this goes."""

    def __init__(self, astra: ModuleType, kind: str, grid: ImageGrid, beam: ParallelBeam) -> None:
        volume = astra.create_vol_geom(*grid.shape)
        rays = astra.create_proj_geom("parallel_vec", beam.det_count, ray_vectors(grid, beam))
        self.id: int = astra.create_projector(kind, rays, volume)
        weakref.finalize(self, astra.projector.delete, self.id)


def ray_vectors(grid: ImageGrid, beam: ParallelBeam) -> NDArray[np.float64]:
    """ASTRA's ``parallel_vec``: a ray's direction, the detector's centre, one bin; in pixels, y up.

    The plain ``parallel`` geometry has no detector offset and keeps angles in float32.

    Returns:
        ``(A, 6)``.
    """
    cos, sin = np.cos(beam.theta), np.sin(beam.theta)
    step, centre = beam.det_spacing_mm / grid.spacing_mm, beam.det_offset_mm / grid.spacing_mm
    return np.stack([sin, -cos, centre * cos, centre * sin, step * cos, step * sin], axis=1)


def import_astra() -> ModuleType:
    """The module.

    Raises:
        CtmarError: If it is not installed, cannot load its CUDA runtime, or is older than 2.5, which brought
            the calls on tensors (before them only linked arrays, whose deletion from two threads deadlocks).
    """
    try:
        import astra
    except ModuleNotFoundError as error:
        raise CtmarError(
            "projector astra needs the ASTRA toolbox, which is not installed: pip install 'ctmar[astra]'"
        ) from error
    except ImportError as error:
        raise CtmarError(
            f"projector astra needs the CUDA runtime even without a GPU ({error}): pip install 'ctmar[astra]'"
        ) from error
    if not hasattr(astra.projector, "direct_FP"):
        raise CtmarError(f"projector astra needs ASTRA 2.5 or newer, got {astra.__version__}")
    module: ModuleType = astra
    return module
