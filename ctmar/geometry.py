"""Where pixels and rays are: image grids and beams, in millimetres and radians.

Convention: pixel (row i, column j) lies at ``x = (j - (W-1)/2) * spacing``,
``y = ((H-1)/2 - i) * spacing``: x along columns, y up. A parallel ray (θ, s) is the line
``x cos θ + y sin θ = s``, and bin d lies at ``s = (d - (D-1)/2) * det_spacing_mm + det_offset_mm``.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError


def _positive(name: str, value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise CtmarError(f"{name} must be a positive number, got {value!r}")


def _count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CtmarError(f"{name} must be a positive whole number, got {value!r}")


@dataclass(frozen=True)
class ImageGrid:
    """A grid of square pixels centred on the axis of rotation.

    Attributes:
        shape: Rows and columns.
        spacing_mm: Edge of a pixel in mm.
    """

    shape: tuple[int, int]
    spacing_mm: float

    def __post_init__(self) -> None:
        if isinstance(self.shape, (str, int)) or len(tuple(self.shape)) != 2:
            raise CtmarError(f"shape must be (rows, columns), got {self.shape!r}")
        object.__setattr__(self, "shape", tuple(self.shape))
        _count("rows", self.shape[0])
        _count("columns", self.shape[1])
        _positive("spacing_mm", self.spacing_mm)

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width in mm, pixel edges included."""
        return self.shape[0] * self.spacing_mm, self.shape[1] * self.spacing_mm

    def refine(self, factor: int) -> "ImageGrid":
        """The same area with ``factor`` × ``factor`` pixels in place of each."""
        _count("factor", factor)
        rows, columns = self.shape
        return ImageGrid((rows * factor, columns * factor), self.spacing_mm / factor)


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel rays: ``num_angles`` views over [0, π), or at the given angles.

    Attributes:
        num_angles: Number of views.
        det_count: Bins of the detector.
        det_spacing_mm: Distance between bins in mm.
        det_offset_mm: Position in mm of the detector's centre (a quarter of a bin for interlacing).
        angles: θ of each view in rad; ``k π / num_angles`` where none are given.
    """

    num_angles: int
    det_count: int
    det_spacing_mm: float
    det_offset_mm: float = 0.0
    angles: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _count("num_angles", self.num_angles)
        _count("det_count", self.det_count)
        _positive("det_spacing_mm", self.det_spacing_mm)
        if not math.isfinite(self.det_offset_mm):
            raise CtmarError(f"det_offset_mm must be finite, got {self.det_offset_mm!r}")
        if self.angles is None:
            angles = tuple(k * math.pi / self.num_angles for k in range(self.num_angles))
        else:
            angles = tuple(float(angle) for angle in self.angles)
            if len(angles) != self.num_angles or not all(map(math.isfinite, angles)):
                raise CtmarError(f"angles must hold {self.num_angles} finite values, got {len(angles)}")
        object.__setattr__(self, "angles", angles)

    @property
    def shape(self) -> tuple[int, int]:
        """Views and bins: the last two axes of a sinogram."""
        return self.num_angles, self.det_count

    @property
    def theta(self) -> NDArray[np.float64]:
        """The views' angles in rad as an array."""
        return np.asarray(self.angles, dtype=np.float64)

    @property
    def wraps(self) -> bool:
        """Whether view ``num_angles`` would be view 0 mirrored: ``p(θ + π, s) = p(θ, -s)``."""
        uniform = ParallelBeam(self.num_angles, self.det_count, self.det_spacing_mm).angles
        return self.det_offset_mm == 0.0 and self.angles == uniform

    def refine(self, factor: int) -> "ParallelBeam":
        """Each bin split into ``factor`` sub-rays, spread evenly over its width."""
        _count("factor", factor)
        return ParallelBeam(
            self.num_angles,
            self.det_count * factor,
            self.det_spacing_mm / factor,
            self.det_offset_mm,
            self.angles,
        )

    def covers(self, grid: ImageGrid) -> bool:
        """Whether every pixel centre of ``grid`` projects onto the detector in every view."""
        height, width = ((n - 1) * grid.spacing_mm / 2 for n in grid.shape)
        reach = math.hypot(height, width)
        half = (self.det_count - 1) / 2 * self.det_spacing_mm
        return half - abs(self.det_offset_mm) >= reach - 1e-9
