"""Parallel rays."""

import math
from dataclasses import dataclass

from ctmar.errors import CtmarError
from ctmar.geometry.checks import angles_over, require_count, require_positive
from ctmar.geometry.grid import ImageGrid
from ctmar.geometry.views import Views


@dataclass(frozen=True)
class ParallelBeam(Views):
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
        require_count("num_angles", self.num_angles)
        require_count("det_count", self.det_count)
        require_positive("det_spacing_mm", self.det_spacing_mm)
        if not math.isfinite(self.det_offset_mm):
            raise CtmarError(f"det_offset_mm must be finite, got {self.det_offset_mm!r}")
        object.__setattr__(self, "angles", angles_over(self.angles, self.num_angles, math.pi))

    @property
    def wraps(self) -> bool:
        """Whether view ``num_angles`` would be view 0 mirrored: ``p(θ + π, s) = p(θ, -s)``."""
        uniform = ParallelBeam(self.num_angles, self.det_count, self.det_spacing_mm).angles
        return self.det_offset_mm == 0.0 and self.angles == uniform

    def refine(self, factor: int) -> "ParallelBeam":
        """Each bin split into ``factor`` sub-rays, spread evenly over its width."""
        require_count("factor", factor)
        return ParallelBeam(
            self.num_angles,
            self.det_count * factor,
            self.det_spacing_mm / factor,
            self.det_offset_mm,
            self.angles,
        )

    def covers(self, grid: ImageGrid) -> bool:
        """Whether every pixel centre of ``grid`` projects onto the detector in every view."""
        reach = grid.reach_mm
        half = (self.det_count - 1) / 2 * self.det_spacing_mm
        return half - abs(self.det_offset_mm) >= reach - 1e-9
