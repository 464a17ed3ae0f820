"""What is known of a beam before anything lies in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ctmar.physics.spectra import Spectrum


@dataclass(frozen=True, eq=False)
class Rays:
    """The bins of a beam: what an effect may know of them.

    Attributes:
        positions_mm: ``(bin,)`` distances of the bins' rays from the axis of rotation, signed.
        air: ``(2, bin)`` mean signal of one photon without a patient, and its variance.
        spectrum: What the detector sees through air, without a bow-tie.
        reference_kev: Energy to which CT numbers and the water precorrection refer.
        prefilter: ``(bin, energy)`` share that a bow-tie lets through; None without one.
    """

    positions_mm: NDArray[np.float64]
    air: Tensor
    spectrum: Spectrum
    reference_kev: float
    prefilter: NDArray[np.float64] | None = None
