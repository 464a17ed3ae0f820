"""What a single-slice helical scan measures of a stack of slices, and the transpose."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, HelicalFan, ImageGrid
from ctmar.operators.ray_transform import RayTransform


class HelicalTransform:
    """Line integrals of a volume along the rays of a helical scan; linear, with its exact adjoint.

    The collimated slice at a view's z takes in each slice of the volume by the part of it that it
    covers: slices as wide as it are interpolated linearly in z. Path lengths through partly covered
    slices are averaged, as they are for the thickness of a slice itself. Outside the volume is air.

    Args:
        grid: Pixels of each slice.
        helix: The rays.
        slice_z_mm: z of the centres of the volume's slices.
        spacing_mm: Their thickness.
        backend: Projector backend, as for :class:`~ctmar.operators.RayTransform`.
    """

    def __init__(
        self,
        grid: ImageGrid,
        helix: HelicalFan,
        slice_z_mm: tuple[float, ...],
        spacing_mm: float,
        backend: str = "auto",
    ) -> None:
        self.grid, self.helix, self.backend = grid, helix, backend
        self._slices: list[tuple[slice, NDArray[np.float64], RayTransform] | None] = []
        for z in slice_z_mm:
            weights = covered_share(helix.z_mm - z, helix.slice_mm, spacing_mm)
            views = np.flatnonzero(weights)
            if not views.size:
                self._slices.append(None)
                continue
            part = slice(int(views[0]), int(views[-1]) + 1)
            angles = tuple(helix.theta[part])
            beam = replace(helix.fan, num_angles=len(angles), angles=angles)
            self._slices.append((part, weights[part], RayTransform(grid, beam, backend)))

    @property
    def beam(self) -> FanBeam:
        """One turn's fan: which bins there are."""
        return self.helix.fan

    def forward(self, volume: Tensor) -> Tensor:
        """``(..., Z, H, W)`` in 1/mm to ``(..., V, D)``, dimensionless."""
        expected = (len(self._slices), *self.grid.shape)
        if tuple(volume.shape[-3:]) != expected:
            raise CtmarError(f"a volume of this scan is (..., {str(expected)[1:]}, got {tuple(volume.shape)}")
        out = volume.new_zeros((*volume.shape[:-3], *self.helix.shape))
        for n, taken in enumerate(self._slices):
            if taken is not None:
                part, weights, ray = taken
                seen = ray.forward(volume[..., n, :, :])
                out[..., part, :] += torch.as_tensor(weights).to(out)[:, None] * seen
        return out

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The exact transpose of :meth:`forward`: ``(..., V, D)`` to ``(..., Z, H, W)``."""
        if tuple(sinogram.shape[-2:]) != self.helix.shape:
            raise CtmarError(
                f"a sinogram of this helix is (..., {str(self.helix.shape)[1:]}, got {tuple(sinogram.shape)}"
            )
        empty = sinogram.new_zeros((*sinogram.shape[:-2], *self.grid.shape))
        slices = [
            empty
            if taken is None
            else taken[2].adjoint(
                torch.as_tensor(taken[1]).to(sinogram)[:, None] * sinogram[..., taken[0], :]
            )
            for taken in self._slices
        ]
        return torch.stack(slices, -3)


def covered_share(
    distance_mm: NDArray[np.float64], slice_mm: float, spacing_mm: float
) -> NDArray[np.float64]:
    """Share of a collimated slice that falls on a slice of the volume so far away; sums to 1 over all."""
    overlap = (slice_mm + spacing_mm) / 2 - np.abs(distance_mm)
    return np.asarray(np.clip(overlap, 0, min(slice_mm, spacing_mm)) / slice_mm, dtype=np.float64)
