"""Where pixels and rays are: image grids and beams, in millimetres and radians.

Convention: pixel (row i, column j) lies at ``x = (j - (W-1)/2) * spacing``,
``y = ((H-1)/2 - i) * spacing``: x along columns, y up. A parallel ray (θ, s) is the line
``x cos θ + y sin θ = s``, and bin d lies at ``s = (d - (D-1)/2) * det_spacing_mm + det_offset_mm``.

Fan beams: view β has its source at ``R (sin β, -cos β)`` and its detector axis along ``(cos β, sin β)``
(ASTRA's ``fanflat``). The ray at fan angle γ is the parallel ray ``θ = β - γ``, ``s = R sin γ``.
Helical scans: β goes on through the turns, and z grows by the table's feed with each.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError

DETECTORS = ("flat", "arc")


def _positive(name: str, value: float) -> None:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise CtmarError(f"{name} must be a positive number, got {value!r}")


def _count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CtmarError(f"{name} must be a positive whole number, got {value!r}")


def _angles(angles: tuple[float, ...] | None, count: int, turn: float) -> tuple[float, ...]:
    """The views' angles in rad: those given, or ``count`` spread evenly over ``turn``."""
    if angles is None:
        return tuple(k * turn / count for k in range(count))
    given = tuple(float(angle) for angle in angles)
    if len(given) != count or not all(map(math.isfinite, given)):
        raise CtmarError(f"angles must hold {count} finite values, got {len(given)}")
    return given


@dataclass(frozen=True)
class ImageGrid:
    """A grid of square pixels, centred on the axis of rotation unless set off from it.

    Attributes:
        shape: Rows and columns.
        spacing_mm: Edge of a pixel in mm.
        center_mm: ``(x, y)`` of the grid's centre: not (0, 0) for a crop (:meth:`crop`).
    """

    shape: tuple[int, int]
    spacing_mm: float
    center_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if isinstance(self.shape, (str, int)) or len(tuple(self.shape)) != 2:
            raise CtmarError(f"shape must be (rows, columns), got {self.shape!r}")
        object.__setattr__(self, "shape", tuple(self.shape))
        _count("rows", self.shape[0])
        _count("columns", self.shape[1])
        _positive("spacing_mm", self.spacing_mm)
        object.__setattr__(self, "center_mm", tuple(float(c) for c in self.center_mm))
        if len(self.center_mm) != 2 or not all(map(math.isfinite, self.center_mm)):
            raise CtmarError(f"center_mm must be two finite numbers (x, y), got {self.center_mm!r}")

    @property
    def centered(self) -> bool:
        """Whether the grid's centre lies on the axis of rotation."""
        return self.center_mm == (0.0, 0.0)

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width in mm, pixel edges included."""
        return self.shape[0] * self.spacing_mm, self.shape[1] * self.spacing_mm

    @property
    def reach_mm(self) -> float:
        """Distance of the farthest pixel centre from the axis of rotation in mm."""
        height, width = ((n - 1) * self.spacing_mm / 2 for n in self.shape)
        return math.hypot(width + abs(self.center_mm[0]), height + abs(self.center_mm[1]))

    def refine(self, factor: int) -> "ImageGrid":
        """The same area with ``factor`` × ``factor`` pixels in place of each."""
        _count("factor", factor)
        rows, columns = self.shape
        return ImageGrid((rows * factor, columns * factor), self.spacing_mm / factor, self.center_mm)

    def crop(self, rows: slice, columns: slice) -> "ImageGrid":
        """The grid of ``image[rows, columns]``: the same pixels at the same places.

        An image that is zero outside the crop projects the same from its crop, in less time.

        Raises:
            CtmarError: If a slice has a step or holds no pixel.
        """
        spans = [span.indices(count) for span, count in zip((rows, columns), self.shape, strict=True)]
        if any(step != 1 or stop <= start for start, stop, step in spans):
            raise CtmarError(f"a crop needs rows and columns that hold pixels, got {rows} and {columns}")
        (top, bottom, _), (left, right, _) = spans
        x = self.center_mm[0] + (left + right - self.shape[1]) / 2 * self.spacing_mm
        y = self.center_mm[1] - (top + bottom - self.shape[0]) / 2 * self.spacing_mm
        return ImageGrid((bottom - top, right - left), self.spacing_mm, (x, y))


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
        object.__setattr__(self, "angles", _angles(self.angles, self.num_angles, math.pi))

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
        reach = grid.reach_mm
        half = (self.det_count - 1) / 2 * self.det_spacing_mm
        return half - abs(self.det_offset_mm) >= reach - 1e-9


@dataclass(frozen=True)
class FanBeam:
    """Rays of a point source that turns about the origin, onto a flat or an arc-shaped detector.

    Attributes:
        num_angles: Number of views.
        det_count: Bins of the detector.
        det_spacing_mm: Distance between bins on the detector in mm (along the arc for an arc).
        src_radius_mm: Distance R of the source from the axis of rotation in mm.
        det_radius_mm: Distance of the detector from the axis in mm; 0 for a detector on the axis.
        detector: ``flat``, or ``arc`` for a detector bent around the source.
        det_offset_mm: Position in mm of the detector's centre along the detector.
        angles: β of each view in rad; ``2 π k / num_angles`` where none are given.
    """

    num_angles: int
    det_count: int
    det_spacing_mm: float
    src_radius_mm: float
    det_radius_mm: float
    detector: str = "flat"
    det_offset_mm: float = 0.0
    angles: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _count("num_angles", self.num_angles)
        _count("det_count", self.det_count)
        _positive("det_spacing_mm", self.det_spacing_mm)
        _positive("src_radius_mm", self.src_radius_mm)
        if not (math.isfinite(self.det_radius_mm) and self.det_radius_mm >= 0):
            raise CtmarError(f"det_radius_mm must be zero or a positive number, got {self.det_radius_mm!r}")
        if not math.isfinite(self.det_offset_mm):
            raise CtmarError(f"det_offset_mm must be finite, got {self.det_offset_mm!r}")
        if self.detector not in DETECTORS:
            raise CtmarError(f"detector must be one of {', '.join(DETECTORS)}, got {self.detector!r}")
        widest = math.degrees(float(np.abs(self.gamma).max()))
        if widest >= 90:
            raise CtmarError(f"an arc detector must span less than 90° to each side, got {widest:.1f}°")
        object.__setattr__(self, "angles", _angles(self.angles, self.num_angles, 2 * math.pi))

    @property
    def shape(self) -> tuple[int, int]:
        """Views and bins: the last two axes of a sinogram."""
        return self.num_angles, self.det_count

    @property
    def theta(self) -> NDArray[np.float64]:
        """The views' source angles β in rad as an array."""
        return np.asarray(self.angles, dtype=np.float64)

    @property
    def gamma(self) -> NDArray[np.float64]:
        """The bins' fan angles γ in rad, 0 for the ray through the axis of rotation."""
        bins = (np.arange(self.det_count) - (self.det_count - 1) / 2) * self.det_spacing_mm
        along = (bins + self.det_offset_mm) / self.sdd_mm
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
        _count("factor", factor)
        count, spacing = self.det_count * factor, self.det_spacing_mm / factor
        return replace(self, det_count=count, det_spacing_mm=spacing)

    def covers(self, grid: ImageGrid) -> bool:
        """Whether every pixel centre of ``grid`` projects onto the detector from every direction."""
        reach = grid.reach_mm / self.src_radius_mm
        return reach < 1 and min(-self.gamma[0], self.gamma[-1]) >= math.asin(reach) - 1e-12

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


@dataclass(frozen=True)
class HelicalFan:
    """A single-slice helical scan: a fan that goes on turning while the table moves along z.

    View k has ``β = 2π (start_view + k) / N``, N views a turn, and ``z = start_z_mm + feed_mm k / N``.

    Attributes:
        fan: One turn, its views evenly spaced from β = 0.
        feed_mm: What the table moves in a turn.
        slice_mm: Width of the collimated slice on the axis; the pitch is ``feed_mm / slice_mm``.
        num_views: Views of the whole scan, any number of turns.
        start_z_mm: z of the first view.
        start_view: Place of the first view in its turn.
    """

    fan: FanBeam
    feed_mm: float
    slice_mm: float
    num_views: int
    start_z_mm: float = 0.0
    start_view: int = 0

    def __post_init__(self) -> None:
        _positive("feed_mm", self.feed_mm)
        _positive("slice_mm", self.slice_mm)
        _count("num_views", self.num_views)
        if not math.isfinite(self.start_z_mm):
            raise CtmarError(f"start_z_mm must be finite, got {self.start_z_mm!r}")
        if isinstance(self.start_view, bool) or not isinstance(self.start_view, int):
            raise CtmarError(f"start_view must be a whole number, got {self.start_view!r}")
        if self.fan.angles != replace(self.fan, angles=None).angles:
            raise CtmarError("a helical scan needs a fan whose views fill a turn evenly from 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Views and bins: the last two axes of a sinogram."""
        return self.num_views, self.fan.det_count

    @property
    def pitch(self) -> float:
        """Table feed a turn in slice widths."""
        return self.feed_mm / self.slice_mm

    @property
    def turns(self) -> float:
        """Turns from the first view to the last."""
        return (self.num_views - 1) / self.fan.num_angles

    @property
    def theta(self) -> NDArray[np.float64]:
        """The views' source angles β in rad, growing through the turns."""
        step = 2 * np.pi / self.fan.num_angles
        return np.asarray(step * (self.start_view + np.arange(self.num_views)), dtype=np.float64)

    @property
    def z_mm(self) -> NDArray[np.float64]:
        """The views' z in mm."""
        step = self.feed_mm / self.fan.num_angles
        return np.asarray(self.start_z_mm + step * np.arange(self.num_views), dtype=np.float64)

    def view_at(self, z_mm: float) -> float:
        """Place among the views, with its fraction, of the tube at ``z_mm``."""
        return (z_mm - self.start_z_mm) / self.feed_mm * self.fan.num_angles

    def refine(self, factor: int) -> "HelicalFan":
        """Each bin split into ``factor`` sub-rays, spread evenly over its width."""
        return replace(self, fan=self.fan.refine(factor))
