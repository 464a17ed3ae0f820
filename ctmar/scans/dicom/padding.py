"""Pixels that a header declares to be padding: outside of what was reconstructed (PS3.3, C.7.5.1.1.2)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctmar.scans.dicom.files import File
from ctmar.scans.dicom.reading import LOSSY, syntax_of, value_of
from ctmar.stored.padding import BLURRED_HU, PADDING_HU, at_border

LARGEST_SPECK = 3
"""Pixels; fewer of padding's value amid air are noise that was cut off there, and stay as well."""


@dataclass(frozen=True)
class Padding:
    """Stored values that are padding.

    Attributes:
        lowest: The first of them.
        highest: The last.
        lossy: Whether compression has blurred it.
    """

    lowest: int
    highest: int
    lossy: bool

    def holds(self, stored: NDArray[np.integer], tolerance: float = 0.0) -> NDArray[np.bool_]:
        """Which stored values are of padding."""
        wide = stored.astype(np.int64)
        return np.asarray((wide >= self.lowest - tolerance) & (wide <= self.highest + tolerance))

    def mask(
        self, stored: NDArray[np.integer], image_hu: NDArray[np.floating], slope: float
    ) -> NDArray[np.bool_]:
        """Where an image is padding.

        A value that no scanner reconstructs is padding everywhere. One that air, cut off, may have as well is
        where it reaches the border: dark streaks beside metal are cut off there too. Lossy compression blurs
        padding and its rim: what is as low and connected to it, and a pixel around, belong to it.
        """
        blur = BLURRED_HU if self.lossy else 0.0
        found = self.holds(stored, blur / abs(slope))
        if not found.any():
            return found
        if image_hu[found].max() >= PADDING_HU:
            outside = at_border(found)
            specks = _specks(found & ~outside)
            if specks.any():
                specks &= ndimage.uniform_filter(image_hu, 5) < PADDING_HU / 2
            return outside | specks
        if not self.lossy:
            return found
        grown = ndimage.binary_propagation(found, np.ones((3, 3)), image_hu < PADDING_HU)
        return np.asarray(ndimage.binary_dilation(grown, np.ones((3, 3))))


def declared_padding(dataset: Any, file: File) -> Padding | None:
    """The padding that a header declares; None for none, or for one that is no number."""
    values = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = value_of(dataset, keyword, file)
        if isinstance(value, int):
            values.append(_as_pixel(value, int(dataset.BitsAllocated), bool(dataset.PixelRepresentation)))
        elif keyword == "PixelPaddingValue":
            return None
    return Padding(min(values), max(values), _is_lossy(dataset))


def blurred_padding(
    dataset: Any, stored: NDArray[np.integer], image_hu: NDArray[np.floating]
) -> Padding | None:
    """The padding of a lossy image that declares none, but has it in all corners; else None."""
    corners = np.ix_([0, -1], [0, -1])
    if not _is_lossy(dataset) or image_hu[corners].max() >= PADDING_HU:
        return None
    return Padding(int(stored[corners].min()), int(stored[corners].max()), True)


def _is_lossy(dataset: Any) -> bool:
    return syntax_of(dataset) in LOSSY or dataset.get("LossyImageCompression") == "01"


def _as_pixel(value: int, bits: int, signed: bool) -> int:
    """A value with the sign of the pixels, whatever its own representation says."""
    value %= 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def _specks(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    regions, count = ndimage.label(found)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    return np.asarray(found & (sizes <= LARGEST_SPECK)[regions])
