"""A fan on a helix."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.geometry.checks import require_count, require_positive
from ctmar.geometry.fan import FanBeam


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
        require_positive("feed_mm", self.feed_mm)
        require_positive("slice_mm", self.slice_mm)
        require_count("num_views", self.num_views)
        if not math.isfinite(self.start_z_mm):
            raise CtmarError(f"start_z_mm must be finite, got {self.start_z_mm!r}")
        if isinstance(self.start_view, bool) or not isinstance(self.start_view, int):
            raise CtmarError(f"start_view must be a whole number, got {self.start_view!r}")
        if not self.fan.even or self.fan.theta[0] != 0 or self.fan.mirrored:
            raise CtmarError("a helical scan needs a fan whose views fill a turn evenly from 0, not mirrored")

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
