"""The eight symmetries of the square for fan beams: one slice fills the lanes of a batch.

With views at ``2 π k / A`` (A divisible by 4), a centred detector and a square image, every view is a
turned or mirrored one with β ∈ [0, π/4]. Projecting the image's eight turned and mirrored copies from
these base views alone gives all views of the image.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.symmetry import SYMMETRIES, Symmetry


class FanSymmetry(Symmetry):
    """How images and fan sinograms fold onto the base views, and back.

    Each view belongs to exactly one of the copies' base views, so that :meth:`spread` and
    :meth:`collect` are exact transposes.

    Args:
        grid: Square pixels.
        fan: A fan beam for which :meth:`applies` holds.

    Attributes:
        fan: The base views.
    """

    def __init__(self, grid: ImageGrid, fan: FanBeam) -> None:
        views, base = fan.num_angles, fan.num_angles // 8 + 1
        self.shape = fan.shape
        self.fan = replace(fan, num_angles=base, angles=tuple(fan.theta[:base]))
        copy, view = np.divmod(np.arange(SYMMETRIES * base), base)
        # Turning the copy by 90° is turning the source back; mirroring it mirrors the source.
        place = np.where(copy < 4, view, -view) - (copy % 4) * (views // 4)
        places, first = np.unique(place % views, return_index=True)
        assert len(places) == views, "every view must be some copy's base view"
        self._copy, self._view = torch.from_numpy(copy[first]), torch.from_numpy(view[first])
        self._mirrored = self._copy >= 4

    @staticmethod
    def applies(grid: ImageGrid, fan: FanBeam) -> bool:  # type: ignore[override]
        """Whether image and fan have all eight symmetries."""
        rows, columns = grid.shape
        even = replace(fan, angles=None).angles == fan.angles
        return rows == columns and even and fan.num_angles % 4 == 0 and fan.det_offset_mm == 0.0

    def collect(self, base: Tensor) -> Tensor:
        """The copies' base views ``(8 B, view, bin)`` to the sinogram ``(B, A, D)``."""
        views = base.unflatten(0, (SYMMETRIES, -1))[self._copy, :, self._view]
        views[self._mirrored] = views[self._mirrored].flip(-1)
        return views.transpose(0, 1)

    def spread(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`collect`; base views that stand for no view are zero."""
        views = sinogram.transpose(0, 1).clone()
        views[self._mirrored] = views[self._mirrored].flip(-1)
        out = sinogram.new_zeros((SYMMETRIES, len(sinogram), *self.fan.shape))
        out[self._copy, :, self._view] = views
        return out.flatten(0, 1)
