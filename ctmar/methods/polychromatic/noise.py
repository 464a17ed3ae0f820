"""How many photons a scan was made with, from its own noise."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, correlate

from ctmar.methods.polychromatic.tables import Floats, Tables

DARKEST = 0.25
"""Share of the rays that are read: the darkest, where noise is most and edges count least."""
SECOND = np.array([1.0, -2.0, 1.0])
LEAST_READ = 200
"""Fewer differences than these tell nothing."""
MAD = 1.4826
"""Standard deviation of a normal distribution over the median of its absolute values."""


def photons_seen(sinogram: Floats, trace: NDArray[np.bool_], tables: Tables) -> float:
    """Photons that reach a bin through air, by the noise of the rays that missed the metal.

    The second difference over the bins of the second difference over the views holds hardly anything of the
    body, and the noise of nine rays, of variance ``1 / (I0 e^-g)`` each. Its size is the median over the
    darkest quarter of the rays. On validation scans it finds 0.90 to 0.98 of the photons of a detector that
    counts; 0.74 to 0.79 of one that weighs them by their energy, which is noisier. Noise that neighbours
    share, as in stored images, makes the photons seem more.

    Args:
        sinogram: ``(view, bin)`` line integrals as measured.
        trace: Bool, the same shape: the rays that metal spoils.
        tables: The beam.

    Returns:
        Infinity where next to no rays missed the metal.
    """
    logged = tables.logged(sinogram)
    weights = np.outer(SECOND, SECOND)
    difference = correlate(logged, weights)[1:-1, 1:-1]
    free = ~binary_dilation(trace, np.ones((3, 3), bool))[1:-1, 1:-1]
    variance = correlate(np.exp(logged), weights**2)[1:-1, 1:-1][free]
    difference, depth = difference[free], logged[1:-1, 1:-1][free]
    if len(depth) < LEAST_READ:
        return float("inf")
    dark = depth >= np.quantile(depth, 1 - DARKEST)
    ratio = np.abs(difference[dark]) / np.sqrt(variance[dark])
    noise = (MAD * float(np.median(ratio))) ** 2
    return 1 / noise if noise > 0 else float("inf")
