"""What of a stored image is padding: outside of what the scanner reconstructed."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NOWHERE_HU = -4096.0
"""What declared padding is read as: below anything that a scanner reconstructs."""
PADDING_HU = -1100.0
"""Values below may be padding (commonly -2000, -2048 or -3024); air is noisy about -1000."""
LEAST_PADDING = 10
"""Pixels of one value in a corner that cannot be chance."""
BLURRED_BELOW_HU = -1500.0
"""What four corners lie below where padding was blurred; streaks do not reach all of them."""
BLURRED_HU = 100.0
"""By so much lossy compression changes padding."""
LEAST_SHARE = 0.01
"""Of an image's pixels: so many at least are padding that is known by its extent."""


def padding_mask(image_hu: NDArray[np.floating], blurred: bool = True) -> NDArray[np.bool_]:
    """Where the scanner evidently reconstructed nothing, or says so (:data:`NOWHERE_HU`).

    A corner's value, far below air, as far as it goes on. Dark streaks of an image with an extended scale lie
    as low, and may reach the border; they are not of one value. Where all four corners are as low but of
    several values, lossy compression has blurred them: all that is connected to them and as low, and a pixel
    around. Where all four corners have one value, whatever it is, noise has not been there.

    Args:
        image_hu: ``(row, column)`` in HU.
        blurred: Whether to look for padding of several values.
    """
    found = np.asarray(image_hu == NOWHERE_HU)
    corners = {(r, c) for r in (0, image_hu.shape[0] - 1) for c in (0, image_hu.shape[1] - 1)}
    values = {float(image_hu[corner]) for corner in corners}
    for value in values:
        if value < PADDING_HU:
            found |= _at_corners(image_hu == value, corners, LEAST_PADDING)
    if blurred and not found.any() and max(values) < BLURRED_BELOW_HU:
        low = _at_corners(image_hu < BLURRED_BELOW_HU, corners, int(LEAST_SHARE * image_hu.size))
        if all(low[corner] for corner in corners):
            grown = ndimage.binary_propagation(low, np.ones((3, 3)), image_hu < PADDING_HU)
            found = ndimage.binary_dilation(grown, np.ones((3, 3)))
    if not found.any() and len(values) == 1:
        even = at_border(np.asarray(image_hu == values.pop()))
        if even.mean() >= LEAST_SHARE and all(even[corner] for corner in corners):
            found = even
    return np.asarray(found)


def at_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a mask that reaches the image's border, without what hangs on it by less than 3 pixels."""
    core = dilated(~dilated(~mask)) & mask
    regions, count = ndimage.label(core)
    edge = np.zeros(mask.shape, bool)
    edge[[0, -1], :] = edge[:, [0, -1]] = True
    reaching = np.zeros(count + 1, bool)
    reaching[np.unique(regions[edge])] = True
    reaching[0] = False
    found = reaching[regions]
    return (dilated(found) | edge) & mask


def dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask and the eight neighbours of each of its pixels; sooner than by :mod:`scipy.ndimage`."""
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    out = rows.copy()
    out[:, 1:] |= rows[:, :-1]
    out[:, :-1] |= rows[:, 1:]
    return out


def _at_corners(
    mask: NDArray[np.bool_], corners: Collection[tuple[int, int]], least: int
) -> NDArray[np.bool_]:
    """The regions of a mask that hold a corner and are large enough."""
    regions, _ = ndimage.label(mask)
    sizes = np.bincount(regions.ravel())
    wanted = {int(regions[corner]) for corner in corners} - {0}
    return np.isin(regions, [region for region in wanted if sizes[region] >= least])
