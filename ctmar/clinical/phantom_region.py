"""Where the lesion of a user's phantom scans is, and what all their images must have in common."""

from dataclasses import dataclass
from typing import NamedTuple

from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import require_inside
from ctmar.metrics.lesions import Lesion


@dataclass(frozen=True)
class Region:
    """Where the lesion is in every image, and how much around it judges see.

    Attributes:
        radius_mm: Of the lesion.
        patch_radii: Half the side of what judges see, in radii of the lesion.
        at_mm: The lesion's centre (x, y) from the image's middle, x to the right, y down; or None.
        at_pixel: Its row and column, from 0, in place of ``at_mm``.

    Raises:
        CtmarError: Both places or none, or a size out of its range.
    """

    radius_mm: float
    patch_radii: float
    at_mm: tuple[float, float] | None = None
    at_pixel: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if (self.at_mm is None) == (self.at_pixel is None):
            raise CtmarError(
                "the lesion's centre must be given as lesion_at_mm=[x,y] or lesion_at_pixel=[row,column],"
                f" got {'neither' if self.at_mm is None else 'both'}"
            )
        if not self.radius_mm > 0 or not self.patch_radii >= 1:
            raise CtmarError(
                "lesion_radius_mm must be positive and patch_radii 1 or more,"
                f" got {self.radius_mm} and {self.patch_radii}"
            )

    def half(self, spacing_mm: float) -> int:
        """Half the patches' side in pixels, which is ``2 half + 1``."""
        return max(1, round(self.patch_radii * self.radius_mm / spacing_mm))

    def lesion(self, shape: tuple[int, int], spacing_mm: float) -> Lesion:
        """The lesion on the pixels of an image; its contrast means nothing.

        Raises:
            CtmarError: The patch around it leaves the image.
        """
        if self.at_pixel is not None:
            row, column = map(round, self.at_pixel)
        else:
            assert self.at_mm is not None
            x, y = self.at_mm
            row, column = (
                round(place / spacing_mm + (n - 1) / 2) for place, n in zip((y, x), shape, strict=True)
            )
        require_inside(row, column, self.half(spacing_mm), shape)
        return Lesion(row, column, self.radius_mm, 1.0)


class Pixels(NamedTuple):
    """What all images must have in common, and where the first of them was listed."""

    shape: tuple[int, int]
    spacing_mm: float
    line: int
