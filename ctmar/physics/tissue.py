"""From CT numbers to materials: which water and bone stand for an HU."""

import numpy as np
from numpy.typing import NDArray

from ctmar.physics.materials import attenuation

BONE_RAMP_HU = (100.0, 1500.0)
"""Below the first all is water, above the second all is bone, between them a linear blend; the
decomposition of CNN-MAR (Zhang & Yu, IEEE TMI 37:1370, 2018) and the protocols after it."""


def tissue_fractions(
    hu: NDArray[np.float32], reference_kev: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Water and cortical bone, as shares of their nominal densities, that stand for a CT number.

    The two attenuate together as ``(1 + HU/1000) μ_water`` at ``reference_kev``, so that the mixture
    is exact there at every HU; 0 HU is water of density 1 and nothing else, and air holds neither. At other
    energies fat, muscle and lung are thinner or denser water, which holds them within 5 HU after the water
    precorrection; bone hardens the beam as cortical bone does.

    Args:
        hu: CT numbers, at least -1000.
        reference_kev: Energy at which the CT number is defined.

    Returns:
        Two float32 arrays of the shape of ``hu``.
    """
    low, high = BONE_RAMP_HU
    share = np.clip((hu - low) / (high - low), 0.0, 1.0)
    total = np.maximum(hu / 1000.0 + 1.0, 0.0)
    water_mu = attenuation("water", [reference_kev])[0]
    bone_mu = attenuation("bone", [reference_kev])[0]
    water = ((1.0 - share) * total).astype(np.float32)
    bone = (share * total * (water_mu / bone_mu)).astype(np.float32)
    return water, bone
