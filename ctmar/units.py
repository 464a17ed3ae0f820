"""Hounsfield units, linear attenuation and display windows.

``image_hu`` is in Hounsfield units, ``image_mu`` in 1/mm. The two are tied by the attenuation of
water ``mu_water`` at the energy to which the scanner is calibrated.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

AIR_HU = -1000.0
"""HU of air; everything below is padding or noise and counts as air (DICOM PS3.3 C.11.1.1.2)."""

STORED_MIN_HU, STORED_MAX_HU = -1024.0, 3071.0
"""Range of a 12-bit CT image with the usual intercept of -1024."""

WINDOWS_HU: dict[str, tuple[float, float]] = {
    "soft": (-160.0, 240.0),
    "bone": (-450.0, 1050.0),
    "wide": (-1024.0, 3072.0),
}
"""Display windows as (lowest, highest) HU: width/level 400/40, 1500/300 and the whole 12-bit range."""


def hu_to_mu(image_hu: Array, mu_water: float) -> Array:
    """Linear attenuation in 1/mm of an image in HU; ``mu_water`` in 1/mm. Air (-1000 HU) maps to 0."""
    return (image_hu / 1000.0 + 1.0) * mu_water


def mu_to_hu(image_mu: Array, mu_water: float) -> Array:
    """HU of an image in 1/mm; the inverse of :func:`hu_to_mu`."""
    return (image_mu / mu_water - 1.0) * 1000.0
