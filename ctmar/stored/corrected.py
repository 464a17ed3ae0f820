"""A slice before and after its correction, as arrays: what readers and writers of scans pass on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


class Corrected(NamedTuple):
    """A corrected slice; each ``(row, column)``."""

    image_hu: Image
    """HU, equal to the stored image in metal, in padding and, bit for bit, in a slice without metal."""
    kept: NDArray[np.bool_]
    """Where nothing was changed: metal and padding, or the whole slice."""
    metal: NDArray[np.bool_]
    """What is mostly metal, without streaks as bright (:func:`~ctmar.stored.occupied.occupied`)."""
    spread_hu: Image | None
    """Disagreement of plausible methods (:func:`~ctmar.stored.methods.spread_hu`), where asked for."""
