"""A spine of simple solids whose pedicles are known."""

import numpy as np

from ctmar.anatomy import Anatomy

MEDIAL_DEG, WIDTH_MM, HEIGHT_MM, OFFSET_MM = 12.0, 9.0, 14.0, 17.0
BODY_Y, CANAL_Y, ISTHMUS_Y = 35.0, 61.0, 57.0


def make_spine(spacing_mm=(0.8, 0.8, 2.5), heights_mm=(20.0, 55.0, 90.0), top_mm=112.0) -> Anatomy:
    """L3, L2 and L1 upright, with pedicles converging by ``MEDIAL_DEG``."""
    sx, sy, sz = spacing_mm
    shape = (round(top_mm / sz), round(110 / sy), round(96 / sx))
    z, y, x = np.meshgrid(
        *(np.arange(n) * s for n, s in zip(shape, (sz, sy, sx), strict=True)), indexing="ij"
    )
    x = x - (shape[2] - 1) / 2 * sx
    labels = np.zeros(shape, np.uint8)
    canal = (x / 11) ** 2 + ((y - CANAL_Y) / 8) ** 2 < 1
    for label, height in zip((29, 30, 31), heights_mm, strict=True):
        labels[_vertebra(x, y, z - height) & ~canal] = label
    labels[(x / 5) ** 2 + ((y - CANAL_Y) / 4.5) ** 2 < 1] = 79
    torso = (x / 46) ** 2 + ((y - 54) / 52) ** 2 < 1
    hu = np.where(torso, 40.0, -1000.0).astype(np.float32)
    hu[(labels > 0) & (labels < 79)] = 400.0
    return Anatomy("toy", hu, labels, spacing_mm)


def _vertebra(x, y, z):
    body = ((x / 23) ** 2 + ((y - BODY_Y) / 17) ** 2 < 1) & (np.abs(z) < 13)
    across = np.abs(x) - OFFSET_MM - (y - ISTHMUS_Y) * np.tan(np.radians(MEDIAL_DEG))
    across = across * np.cos(np.radians(MEDIAL_DEG))
    ellipse = (across / (WIDTH_MM / 2)) ** 2 + ((z - 4) / (HEIGHT_MM / 2)) ** 2 < 1
    pedicle = ellipse & (y > BODY_Y) & (y < 70)
    facet = (np.abs(np.abs(x) - 19) < 7) & (np.abs(y - 70) < 6) & (np.abs(z - 2) < 15)
    arch = ((x / 24) ** 2 + ((y - CANAL_Y) / 17) ** 2 < 1) & (y > CANAL_Y + 3) & (np.abs(z + 3) < 9)
    spine = (np.abs(x) < 3) & (y > CANAL_Y) & (y < 100) & (np.abs(z + 5) < 7)
    return body | pedicle | facet | arch | spine
