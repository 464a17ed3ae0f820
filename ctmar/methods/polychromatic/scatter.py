"""The shape of the scatter that a scanner may have left, from what it measured."""

import numpy as np

from ctmar.methods.polychromatic.tables import Floats, Tables
from ctmar.physics.scatter import Scatter

FWHM_MM = 100.0
"""Width of the scatter's kernel at the axis. On 8 validation cases of scanner=clinical (its own is 120 mm)
80, 100 and 120 mm give 112.3, 109.5 and 109.4 HU."""


def scattered(sinogram: Floats, tables: Tables, pitch_mm: float) -> Floats:
    """Signal that scatter adds where as much arrives behind 300 mm of water as unscattered.

    By the convolution of :class:`~ctmar.physics.Scatter`, of which every bin's own signal is the source, so
    that the shape is known and its size alone is left to find.

    Args:
        sinogram: ``(view, bin)`` line integrals as measured.
        tables: The beam.
        pitch_mm: Distance of the bins.

    Returns:
        The same shape, in the signal through air.
    """
    logged = tables.logged(sinogram)
    at = (np.arange(sinogram.shape[-1]) - (sinogram.shape[-1] - 1) / 2) * pitch_mm
    scatter = Scatter(to_primary=1.0, fwhm_mm=FWHM_MM)
    spread = (np.exp(-logged) * logged) @ scatter.kernel(at, at).T
    out: Floats = scatter.strength(tables.full) * np.maximum(spread, 0)
    return out
