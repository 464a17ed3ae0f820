"""The eight symmetries of the square for fan beams: one slice fills the lanes of a batch.

With views at ``2 π k / A`` (A divisible by 4), a centred detector and a square image, every view is a
turned or mirrored one with β ∈ [0, π/4]. Projecting the image's eight turned and mirrored copies from
these base views alone gives all views of the image.
"""

from dataclasses import replace

import numpy as np

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.kernels.planes import Listed, Turned
from ctmar.operators.parallel.symmetry import SYMMETRIES, listed_once


class FanSymmetry:
    """How images and fan sinograms fold onto the base views, and back.

    Args:
        grid: Square pixels.
        fan: A fan beam for which :meth:`applies` holds.

    Attributes:
        fan: The base views.
        image: The layout of a slice's copies.
        sinogram: The layout of the copies' base views.
    """

    def __init__(self, grid: ImageGrid, fan: FanBeam) -> None:
        (views, bins), base = fan.shape, fan.num_angles // 8 + 1
        self.fan = replace(fan, num_angles=base, angles=tuple(fan.theta[:base]))
        copy, view, bin_ = np.ogrid[:SYMMETRIES, :base, :bins]
        # Turning the copy by 90° is turning the source back; mirroring it mirrors source and detector.
        place = (np.where(copy < 4, view, -view) - (copy % 4) * (views // 4)) % views
        places = place * bins + np.where(copy < 4, bin_, bins - 1 - bin_)
        self.image = Turned(grid.shape, SYMMETRIES)
        self.sinogram = Listed(listed_once(places, views * bins))

    @staticmethod
    def applies(grid: ImageGrid, fan: FanBeam) -> bool:
        """Whether image and fan have all eight symmetries."""
        rows, columns = grid.shape
        even = fan.even and fan.theta[0] == 0
        return rows == columns and even and fan.num_angles % 4 == 0 and fan.det_offset_mm == 0.0
