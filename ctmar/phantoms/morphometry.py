"""Sizes of the vertebrae T1–L5 and how they vary between people.

Body width, pedicle width and height, lumbar medial angles, caudal angles, canal depth and lumbar disc
heights: averages compiled from surgical morphometry. Body height, body depth and canal width: rounded
from Panjabi et al., "Thoracic human vertebrae" (Spine 1991) and "Human lumbar vertebrae" (Spine 1992).
Medial angles from T2 to T10 are interpolated between T1 (30) and T11 (2.5 degrees). Processes and
thoracic discs: plausible figures of our own, for a picture and not for a study.
"""

from dataclasses import dataclass

import numpy as np

from ctmar.anatomy.labels import LUMBAR, THORACIC

BUILT_LEVELS = (*THORACIC, *LUMBAR)
"""Levels that the procedural spine can build, from the head down."""


@dataclass(frozen=True)
class VertebraSize:
    """One vertebra; lengths in mm, angles in degrees.

    ``medial_deg`` is the pedicle's convergence in the axial plane, ``caudal_deg`` its descent towards
    the body, ``spinous_deg`` the spinous process's descent, ``disc_below`` the disc under the body.
    """

    level: str
    body_width: float
    body_depth: float
    body_height: float
    disc_below: float
    pedicle_width: float
    pedicle_height: float
    medial_deg: float
    caudal_deg: float
    canal_width: float
    canal_depth: float
    transverse_span: float
    spinous_length: float
    spinous_deg: float

    @property
    def thoracic(self) -> bool:
        """Whether ribs hang on it."""
        return self.level.startswith("T")


# level: width, depth, height, disc below, pedicle w × h, medial, caudal, canal w × d, span, spinous, slope
_MEAN: dict[str, tuple[float, ...]] = {
    "T1": (33.1, 18.5, 14.1, 4.0, 9.3, 9.0, 30.0, 15.0, 21.8, 15.5, 74.0, 34.0, 25.0),
    "T2": (32.0, 19.6, 15.6, 4.0, 7.5, 10.3, 24.0, 16.0, 19.5, 15.5, 68.0, 34.0, 30.0),
    "T3": (32.8, 22.7, 15.7, 4.0, 6.0, 10.4, 19.0, 16.0, 18.5, 15.5, 62.0, 34.0, 38.0),
    "T4": (34.2, 23.3, 16.2, 4.0, 4.5, 10.3, 15.0, 17.0, 17.0, 15.5, 60.0, 35.0, 44.0),
    "T5": (36.1, 24.3, 16.2, 4.0, 5.0, 10.6, 12.0, 17.0, 17.2, 15.5, 60.0, 36.0, 48.0),
    "T6": (37.5, 26.0, 17.4, 4.2, 5.5, 10.2, 10.0, 17.0, 17.3, 15.5, 60.0, 36.0, 50.0),
    "T7": (38.1, 27.4, 18.2, 4.4, 6.0, 10.4, 9.0, 17.0, 17.3, 15.5, 60.0, 36.0, 48.0),
    "T8": (38.2, 27.9, 18.7, 4.6, 6.3, 10.9, 8.0, 17.0, 17.7, 15.5, 58.0, 35.0, 44.0),
    "T9": (39.6, 29.3, 19.3, 4.8, 6.3, 12.0, 7.0, 16.0, 17.9, 15.5, 56.0, 33.0, 38.0),
    "T10": (43.1, 30.5, 20.2, 5.0, 6.5, 13.7, 5.0, 16.0, 18.2, 15.5, 52.0, 30.0, 30.0),
    "T11": (42.8, 31.9, 21.3, 5.4, 7.8, 15.0, 2.5, 15.0, 19.4, 15.5, 48.0, 27.0, 18.0),
    "T12": (44.2, 33.4, 22.7, 6.0, 8.3, 15.0, 2.5, 5.0, 22.2, 15.5, 46.0, 27.0, 8.0),
    "L1": (45.0, 34.6, 24.5, 6.6, 7.5, 15.4, 8.0, 5.0, 23.7, 15.5, 71.0, 29.0, 6.0),
    "L2": (47.5, 34.8, 25.8, 7.9, 8.2, 14.9, 11.0, 0.0, 23.8, 15.5, 76.0, 31.0, 6.0),
    "L3": (49.0, 34.8, 26.8, 8.8, 9.7, 14.5, 14.5, 0.0, 24.3, 15.5, 86.0, 32.0, 6.0),
    "L4": (51.5, 34.8, 26.9, 9.3, 11.5, 14.2, 19.0, 0.0, 25.4, 15.5, 80.0, 29.0, 6.0),
    "L5": (54.0, 34.0, 27.4, 8.1, 14.6, 14.7, 27.5, 0.0, 27.1, 15.5, 84.0, 24.0, 8.0),
}

# Tilt of each body about the left-right axis, degrees; positive leans back going up. Its steps make
# a lordosis of about 30 and a kyphosis of about 32 degrees, both modest for an adult lying down.
_TILT = dict(
    zip(BUILT_LEVELS, (-22, -20, -17, -14, -10, -6, -2, 1, 5, 8, 10, 10, 8, 4, -2, -9, -16), strict=True)
)


def sample_sizes(rng: np.random.Generator) -> tuple[VertebraSize, ...]:
    """Sizes of T1–L5 of one person: a common scale, and level by level some 3 % (pedicles ±2 mm)."""
    scale = rng.uniform(0.94, 1.06)
    pedicle = rng.uniform(-1.3, 1.3)
    sizes = []
    for level in BUILT_LEVELS:
        own = rng.uniform(0.97, 1.03, 13) * scale
        values = [mean * factor for mean, factor in zip(_MEAN[level], own, strict=True)]
        values[4] = max(_MEAN[level][4] + pedicle + rng.uniform(-0.7, 0.7), 3.6)
        values[6] = max(_MEAN[level][6] + rng.uniform(-2.5, 2.5), 0.0)
        values[7] = max(_MEAN[level][7] + rng.uniform(-2.0, 2.0), 0.0)
        sizes.append(VertebraSize(level, *(round(float(v), 3) for v in values)))
    return tuple(sizes)


def sample_angles(rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    """Tilt back, tilt to the side and axial turn of T1–L5 in degrees; a mild scoliosis at most."""
    curve = rng.uniform(0.5, 1.1)
    side, turn = rng.uniform(-2.5, 2.5, 2)
    phase = rng.uniform(0, 2 * np.pi)
    angles = []
    for i, level in enumerate(BUILT_LEVELS):
        wave = np.sin(phase + i * 0.6)
        tilt = _TILT[level] * curve + rng.uniform(-1.0, 1.0)
        angles.append((round(float(tilt), 3), round(float(side * wave), 3), round(float(turn * wave), 3)))
    return tuple(angles)
