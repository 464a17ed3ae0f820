"""The pixels of an image."""

import math
from dataclasses import dataclass

from ctmar.errors import CtmarError
from ctmar.geometry.checks import require_count, require_positive


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
        require_count("rows", self.shape[0])
        require_count("columns", self.shape[1])
        require_positive("spacing_mm", self.spacing_mm)
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
        require_count("factor", factor)
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
