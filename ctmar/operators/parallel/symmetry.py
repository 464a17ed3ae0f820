"""The eight symmetries of the square as eight images: one slice fills the lanes of a batch.

With views at ``k π / A`` (A divisible by 4), a centred detector and a square image, every ray is the
mirror or rotation of one with θ ∈ [0, π/4] and s ≥ 0. Projecting the image's eight rotated and mirrored
copies along these base rays alone gives all rays of the image.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.kernels.planes import Listed, Turned

SYMMETRIES = 8


def listed_once(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The same table with -1 wherever a ray stands that was listed before.

    Base rays on a boundary (θ of 0 or 45°, s = 0) stand for one ray several times.
    """
    flat = places.reshape(-1)
    rays, first = np.unique(flat, return_index=True)
    assert len(rays) == count, "every ray must be some copy's base ray"
    table = np.full_like(flat, -1)
    table[first] = rays
    return table.reshape(places.shape)


class Symmetry:
    """How images and sinograms fold onto the base rays, and back.

    Args:
        grid: Square pixels.
        beam: A beam for which :meth:`applies` holds.

    Attributes:
        beam: The base rays.
        image: The layout of a slice's copies.
        sinogram: The layout of the copies' base rays.
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
        self.image, self.sinogram = Turned(grid.shape, SYMMETRIES), Listed(listed_once(places, views * bins))

    @staticmethod
    def applies(grid: ImageGrid, beam: ParallelBeam) -> bool:
        """Whether image and beam have all eight symmetries."""
        rows, columns = grid.shape
        return rows == columns and grid.centered and beam.wraps and beam.num_angles % 4 == 0

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
