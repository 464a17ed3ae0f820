"""scikit-image's ``radon`` and ``iradon``: slow, and an independent opinion."""

from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.adapters.base import Adapter
from ctmar.operators.parallel.lines import view_weights


class SkimageBackend(Adapter):
    """``radon`` and unfiltered ``iradon`` on CPU tensors, float32 or float64.

    **The adjoints are not exact**: ``radon`` rotates the image bilinearly and sums its rows, ``iradon``
    interpolates each view at the pixels, and each stands, scaled, for the other's transpose. Against
    the true transposes that is 3 % off on a smooth image of 16 × 16 and 16 % on noise (this project's
    own transposes: 3 % and 33 %). So this is an independent reference and good for evaluation;
    gradients through it are approximate.

    scikit-image puts the axis of rotation on pixel ``N // 2`` and knows bins of one pixel only. What
    lies elsewhere, all of an even-sized image's bins included, is interpolated along the detector
    with cubic splines, which narrow detectors feel at their ends.
    """

    name = "skimage"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        super().__init__(grid, beam)
        import_skimage()
        rows, columns = grid.shape
        self._axis = rows // 2, columns // 2
        across, up = columns // 2 - (columns - 1) / 2, (rows - 1) / 2 - rows // 2
        self._shift = across * np.cos(beam.theta) + up * np.sin(beam.theta)
        self._degrees = np.rad2deg(beam.theta)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        radon, spacing = import_skimage().radon, self.grid.spacing_mm
        bins = np.arange(self.beam.det_count) - (self.beam.det_count - 1) / 2
        s = (bins * self.beam.det_spacing_mm + self.beam.det_offset_mm) / spacing
        out = torch.zeros((len(image), *self.beam.shape), dtype=image.dtype)
        for n, pixels in enumerate(_array(image)):
            p = radon(pixels, self._degrees, circle=False, preserve_range=True).T
            at = s[None] - self._shift[:, None] + p.shape[1] // 2
            out[n] = torch.from_numpy(_along_bins(p, at) * spacing)
        return out

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Roughly the transpose of :meth:`forward`: ``iradon`` times pixel area over bin width."""
        share = self.grid.spacing_mm**2 / self.beam.det_spacing_mm
        return self._iradon(sinogram, np.full(self.beam.num_angles, share))

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        return self._iradon(sinogram, view_weights(self.beam))

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """Roughly the transpose of :meth:`backproject`: ``radon`` times bin width over pixel area."""
        share = view_weights(self.beam) * self.beam.det_spacing_mm / self.grid.spacing_mm**2
        return self.forward(image) * torch.from_numpy(share).to(image.dtype)[:, None]

    def _iradon(self, sinogram: Tensor, weights: NDArray[np.float64]) -> Tensor:
        """The weighted sum of the views at each pixel."""
        (rows, columns), (row, column) = self.grid.shape, self._axis
        size = max(rows, columns) + 1  # a square with room for the image around its pixel size // 2
        count = int(np.ceil(np.sqrt(2) * size)) + 3
        s = (np.arange(count) - count // 2 + self._shift[:, None]) * self.grid.spacing_mm
        at = (s - self.beam.det_offset_mm) / self.beam.det_spacing_mm + (self.beam.det_count - 1) / 2
        gain = weights[:, None] * 2 * self.beam.num_angles / np.pi  # iradon multiplies by π / 2A
        top, left = size // 2 - row, size // 2 - column
        out = torch.zeros((len(sinogram), rows, columns), dtype=sinogram.dtype)
        for n, p in enumerate(_array(sinogram)):
            image = import_skimage().iradon(
                (_along_bins(p, at) * gain).T,
                self._degrees,
                output_size=size,
                filter_name=None,
                circle=False,
                preserve_range=True,
            )
            out[n] = torch.from_numpy(image[top : top + rows, left : left + columns])
        return out


def _array(x: Tensor) -> NDArray:
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        raise CtmarError(
            f"projector skimage works on float32 or float64 CPU tensors, got {x.dtype} on {x.device}"
        )
    array: NDArray = x.detach().numpy()
    return array


def _along_bins(sinogram: NDArray, at: NDArray[np.float64]) -> NDArray:
    """``(A, M)`` at the fractional bins ``(A, D)``, zero outside."""
    views = np.broadcast_to(np.arange(len(sinogram))[:, None], at.shape)
    values: NDArray = map_coordinates(sinogram, [views, at], order=3, mode="grid-constant")
    return values


def import_skimage() -> ModuleType:
    """Its module of transforms.

    Raises:
        CtmarError: If it is not installed.
    """
    try:
        import skimage.transform
    except ImportError as error:
        raise CtmarError(
            "projector skimage needs scikit-image, which is not installed: pip install 'ctmar[skimage]'"
        ) from error
    module: ModuleType = skimage.transform
    return module
