"""Points and directions in space as plain numbers: mm, in the order (x, y, z)."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctmar.errors import CtmarError

FloatArray = NDArray[np.float64]
Vector = tuple[float, float, float]


def vector(values: ArrayLike) -> Vector:
    """Three finite numbers (x, y, z) as plain floats."""
    array = np.asarray(values, dtype=float)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise CtmarError(f"a point must be three finite numbers (x, y, z), got {values!r}")
    return float(array[0]), float(array[1]), float(array[2])


def unit(values: ArrayLike) -> FloatArray:
    """The vector ``(3,)`` scaled to length 1."""
    array = np.asarray(values, dtype=float)
    length = float(np.linalg.norm(array))
    if not (math.isfinite(length) and length > 0):
        raise CtmarError(f"a direction must be finite and not zero, got {values!r}")
    return array / length
