"""An adult chest of simple solids, the same at every height: for studies that must know where things lie.

A trunk of the size of commercial thorax phantoms (300 × 200 mm), of fat, muscle, lungs, ribs and a thoracic
vertebra. What it leaves out is texture: nothing in it is by chance.
"""

import math
from functools import lru_cache

import numpy as np

from ctmar.anatomy import labels as ids
from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.sources import SPLITS, check_case, frozen
from ctmar.phantoms.implicit import Canvas, Grid, ellipse
from ctmar.phantoms.torso import FAT_HU, MUSCLE_HU

SHAPE = (1, 220, 320)
"""Voxels (z, y, x) of 1 mm, none of them in the middle of an ellipse, whose distance has no slope there. One
slice: beyond a volume its outermost slice goes on."""
CENTER_MM = ((SHAPE[2] - 1) / 2, (SHAPE[1] - 1) / 2)
"""The trunk's centre (x, y) in the volume's frame."""
LUNG_HU, TRABECULAR_HU, CORTICAL_HU, CANAL_HU = -820.0, 180.0, 600.0, 30.0
BODY_RADII_MM, FAT_MM = (150.0, 100.0), 8.0
RIB_ANGLES_DEG = (0, 25, 50, 130, 155, 180, 205, 230, 310, 335)
"""Clockwise from the patient's left, as shown; none behind, where hardware lies."""


def build_chest() -> Anatomy:
    """The chest: HU and labels ``(1, 220, 320)`` of 1 mm, lungs and the vertebra labelled."""
    canvas = Canvas(Grid(SHAPE, (1.0, 1.0, 1.0)))
    whole = canvas.whole
    x, y, z = canvas.grid.axes(whole)
    x, y = x - np.float32(CENTER_MM[0]) + 0 * z, y - np.float32(CENTER_MM[1]) + 0 * z
    wide, deep = BODY_RADII_MM
    canvas.paint(whole, ellipse(x, y, BODY_RADII_MM), FAT_HU)
    canvas.paint(whole, ellipse(x, y, (wide - FAT_MM, deep - FAT_MM)), MUSCLE_HU)
    for side, label in ((1, ids.LUNG_LOWER_LEFT), (-1, ids.LUNG_LOWER_RIGHT)):
        canvas.paint(whole, ellipse(x - side * 75, y + 5, (55.0, 65.0)), LUNG_HU, label)
    for angle in map(math.radians, RIB_ANGLES_DEG):
        u, v = x - (wide - 16) * math.cos(angle), y - (deep - 16) * math.sin(angle)
        for radius, hu in ((5.0, CORTICAL_HU), (3.5, TRABECULAR_HU)):
            canvas.paint(whole, ellipse(u, v, (radius, radius)), hu)
    solids = (
        (0.0, 42.0, (17.0, 14.0), CORTICAL_HU),
        (0.0, 42.0, (15.5, 12.5), TRABECULAR_HU),
        (0.0, 65.0, (11.0, 11.0), CORTICAL_HU),
        (16.0, 63.0, (9.0, 4.0), CORTICAL_HU),
        (-16.0, 63.0, (9.0, 4.0), CORTICAL_HU),
        (0.0, 82.0, (3.0, 8.0), CORTICAL_HU),
        (0.0, 65.0, (8.0, 8.0), CANAL_HU),
    )
    for across, behind, radii, hu in solids:
        bone = ids.LEVEL_TO_ID["T8"] if hu != CANAL_HU else ids.CORD
        canvas.paint(whole, ellipse(x - across, y - behind, radii), hu, bone)
    return Anatomy("chest", canvas.hu, canvas.labels, canvas.grid.spacing_mm)


@lru_cache(maxsize=1)
def _chest() -> Anatomy:
    return frozen(build_chest())


class ChestPhantom:
    """The one chest as a source of bodies: every case of every split has it.

    Args:
        name: What reports call it.
    """

    def __init__(self, name: str = "chest") -> None:
        self.name = name

    def pick(self, split: str, index: int) -> tuple[Anatomy, range]:
        """The chest, and its one slice."""
        check_case(split, index, SPLITS, self.name)
        return _chest(), range(1)
