"""Rays of a fan."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.geometry.checks import angles_over, require_count, require_positive
from ctmar.geometry.grid import ImageGrid
from ctmar.geometry.parallel import ParallelBeam
from ctmar.geometry.views import Views

DETECTORS = ("flat", "arc")


@dataclass(frozen=True)
class FanBeam(Views):
    """Rays of a point source that turns about the origin, onto a flat or an arc-shaped detector.

    Attributes:
        num_angles: Number of views.
        det_count: Bins of the detector.
        det_spacing_mm: Distance between bins on the detector in mm (along the arc for an arc).
        src_radius_mm: Distance R of the source from the axis of rotation in mm.
        det_radius_mm: Distance of the detector from the axis in mm; 0 for a detector on the axis.
        detector: ``flat``, or ``arc`` for a detector bent around the source.
        det_offset_mm: Position in mm of the detector's centre along the detector.
        angles: β of each view in rad; ``start_rad + 2 π k / num_angles`` where none are given.
        start_rad: β of the first view, where ``angles`` are not given.
        mirrored: Whether bins are stored against the detector's direction: the last one first.
    """

    num_angles: int
    det_count: int
    det_spacing_mm: float
    src_radius_mm: float
    det_radius_mm: float
    detector: str = "flat"
    det_offset_mm: float = 0.0
    angles: tuple[float, ...] | None = None
    start_rad: float = 0.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        require_count("num_angles", self.num_angles)
        require_count("det_count", self.det_count)
        require_positive("det_spacing_mm", self.det_spacing_mm)
        require_positive("src_radius_mm", self.src_radius_mm)
        if not (math.isfinite(self.det_radius_mm) and self.det_radius_mm >= 0):
            raise CtmarError(f"det_radius_mm must be zero or a positive number, got {self.det_radius_mm!r}")
        if not math.isfinite(self.det_offset_mm):
            raise CtmarError(f"det_offset_mm must be finite, got {self.det_offset_mm!r}")
        if not math.isfinite(self.start_rad):
            raise CtmarError(f"start_rad must be finite, got {self.start_rad!r}")
        if not isinstance(self.mirrored, bool):
            raise CtmarError(f"mirrored must be true or false, got {self.mirrored!r}")
        if self.detector not in DETECTORS:
            raise CtmarError(f"detector must be one of {', '.join(DETECTORS)}, got {self.detector!r}")
        widest = math.degrees(float(np.abs(self.gamma).max()))
        if widest >= 90:
            raise CtmarError(f"an arc detector must span less than 90° to each side, got {widest:.1f}°")
        angles = angles_over(self.angles, self.num_angles, 2 * math.pi, self.start_rad)
        object.__setattr__(self, "angles", angles)

    @property
    def gamma(self) -> NDArray[np.float64]:
        """The fan angles γ in rad of the bins as stored, 0 for the ray through the axis of rotation."""
        bins = (np.arange(self.det_count) - (self.det_count - 1) / 2) * self.det_spacing_mm
        along = ((-bins if self.mirrored else bins) + self.det_offset_mm) / self.sdd_mm
        return np.asarray(np.arctan(along) if self.detector == "flat" else along, dtype=np.float64)

    @property
    def sdd_mm(self) -> float:
        """Distance from the source to the detector in mm."""
        return self.src_radius_mm + self.det_radius_mm

    @property
    def iso_spacing_mm(self) -> float:
        """Distance between the central bins, scaled to the axis of rotation."""
        return self.det_spacing_mm * self.src_radius_mm / self.sdd_mm

    @property
    def even(self) -> bool:
        """Whether the views fill a turn evenly, in order from the first."""
        return self.angles == replace(self, angles=None, start_rad=self.theta[0]).angles

    @property
    def full_turn(self) -> bool:
        """Whether the views go all the way round: no gap much wider than the second widest."""
        if self.num_angles == 1:
            return False
        angles = np.sort(np.mod(self.theta, 2 * np.pi))
        gaps = np.sort(np.diff(angles, append=angles[0] + 2 * np.pi))
        return bool(gaps[-1] <= 1.5 * gaps[-2])

    @property
    def interlaced(self) -> bool:
        """Whether opposite rays fall halfway between each other: an offset of a quarter of a bin."""
        return abs(2 * self.det_offset_mm / self.det_spacing_mm % 1 - 0.5) < 1e-3

    def refine(self, factor: int) -> "FanBeam":
        """Each bin split into ``factor`` sub-rays, spread evenly over its width."""
        require_count("factor", factor)
        count, spacing = self.det_count * factor, self.det_spacing_mm / factor
        return replace(self, det_count=count, det_spacing_mm=spacing)

    def covers(self, grid: ImageGrid) -> bool:
        """Whether every pixel centre of ``grid`` projects onto the detector from every direction."""
        reach = grid.reach_mm / self.src_radius_mm
        return reach < 1 and min(-self.gamma.min(), self.gamma.max()) >= math.asin(reach) - 1e-12

    @property
    def reach_mm(self) -> float:
        """Distance from the axis of the outermost ray."""
        return self.src_radius_mm * float(np.sin(np.abs(self.gamma).max()))

    def parallel(self, num_angles: int | None = None, det_spacing_mm: float | None = None) -> ParallelBeam:
        """Parallel rays that this fan's rays fill.

        Args:
            num_angles: Views over [0, π); as many as the fan's where not given.
            det_spacing_mm: Distance between bins; that of the fan's central ones where not given.
        """
        spacing = det_spacing_mm or self.iso_spacing_mm
        # Bins fall on rays near the axis: two interlaced sides have none through it.
        odd = self.det_count % 2 if not self.interlaced or spacing > 0.75 * self.iso_spacing_mm else 0
        count = 2 * math.ceil(self.reach_mm / spacing - odd / 2) + odd
        return ParallelBeam(num_angles or self.num_angles, max(count, 1), spacing)
