"""The eight symmetries of the square as eight images: one slice fills the lanes of a batch.

With views at ``k π / A`` (A divisible by 4), a centred detector and a square image, every ray is the
mirror or rotation of one with θ ∈ [0, π/4] and s ≥ 0. Projecting the image's eight rotated and mirrored
copies along these base rays alone gives all rays of the image.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ctmar.geometry import ImageGrid, ParallelBeam

SYMMETRIES = 8


class Symmetry:
    """How images and sinograms fold onto the base rays, and back.

    Each ray (view, bin) belongs to exactly one of the copies' base rays, so that :meth:`spread` and
    :meth:`collect` are exact transposes, as are :meth:`planes` and :meth:`merge`.

    Args:
        grid: Square pixels.
        beam: A beam for which :meth:`applies` holds.

    Attributes:
        beam: The base rays.
    """

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        self.shape = beam.shape
        views, bins = beam.shape
        half = (bins + 1) // 2
        position = (np.arange(bins) - (bins - 1) / 2) * beam.det_spacing_mm
        theta = np.arange(views // 4 + 1) * math.pi / views
        self.beam = ParallelBeam(
            len(theta), half, beam.det_spacing_mm, float(position[bins - half :].mean()), tuple(theta)
        )
        places = np.stack([self._places(n, theta, bins - half) for n in range(SYMMETRIES)])
        # Base rays on a boundary (θ of 0 or 45°, s = 0) stand for one ray several times: keep the first.
        rays, first = np.unique(places.reshape(-1), return_index=True)
        assert len(rays) == views * bins, "every ray must be some copy's base ray"
        self._slot = torch.from_numpy(first)

    @staticmethod
    def applies(grid: ImageGrid, beam: ParallelBeam) -> bool:
        """Whether image and beam have all eight symmetries."""
        rows, columns = grid.shape
        return rows == columns and grid.centered and beam.wraps and beam.num_angles % 4 == 0

    def planes(self, images: np.ndarray) -> list[np.ndarray]:
        """``(B, N, N)`` as its eight turned and mirrored copies, copies outermost; all are views."""
        turned = [np.rot90(images, n % 4, (-2, -1)) for n in range(SYMMETRIES)]
        return [plane for n, x in enumerate(turned) for plane in (x if n < 4 else x[..., ::-1])]

    def merge(self, images: Tensor) -> Tensor:
        """The transpose of :meth:`planes`: ``(8 B, N, N)`` turned back and summed to ``(B, N, N)``."""
        parts = images.unflatten(0, (SYMMETRIES, -1))
        total = parts[0].clone()
        for n in range(1, SYMMETRIES):
            total += torch.rot90(parts[n] if n < 4 else parts[n].flip(-1), -(n % 4), (-2, -1))
        return total

    def collect(self, base: Tensor) -> Tensor:
        """The copies' base rays ``(8 B, views, bins)`` to the sinogram ``(B, A, D)``."""
        flat = base.unflatten(0, (SYMMETRIES, -1)).transpose(0, 1).flatten(1)
        return flat[:, self._slot].unflatten(1, self.shape)

    def spread(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`collect`; base rays that stand for no ray are zero."""
        batch = len(sinogram)
        flat = sinogram.new_zeros((batch, SYMMETRIES * self.beam.num_angles * self.beam.det_count))
        flat[:, self._slot] = sinogram.flatten(1)
        return flat.unflatten(1, (SYMMETRIES, *self.beam.shape)).transpose(0, 1).flatten(0, 1)

    def _places(self, copy: int, theta: np.ndarray, first_bin: int) -> np.ndarray:
        """Which ray of the image (view · D + bin) each base ray of a copy measures, ``(view, bin)``.

        The copy is ``I(g⁻¹ x)``, so its ray with normal n is the image's ray with normal ``g⁻¹ n``.
        """
        views, bins = self.shape
        normal = np.stack([np.cos(theta), np.sin(theta)])
        if copy >= 4:
            normal = normal * np.array([[-1.0], [1.0]])
        quarter = -(copy % 4) * math.pi / 2
        c, s = math.cos(quarter), math.sin(quarter)
        angle = np.arctan2(s * normal[0] + c * normal[1], c * normal[0] - s * normal[1])
        step = np.rint(angle * views / math.pi).astype(np.int64)
        turns, view = np.divmod(step, views)
        bin_ = np.arange(first_bin, bins)[None, :]
        bin_ = np.where(turns[:, None] % 2 == 1, bins - 1 - bin_, bin_)
        return view[:, None] * bins + bin_
