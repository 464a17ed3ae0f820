"""A surgeon's rules for pedicle screws: alloys, standard sizes, and what fits where.

A screw of at most 80 % of the isthmus (Solitro 2019), the smallest of 4.0 mm where that is less; its tip
at least 4 mm behind the anterior cortex; titanium, titanium with cobalt-chrome rods, or steel throughout.
"""

import math

import numpy as np

from ctmar.anatomy.landmarks import Pedicle

TITANIUM, COBALT_CHROME, STEEL = "Ti-6Al-4V", "CoCrMo", "316L"
ALLOYS: dict[str, tuple[str, str]] = {
    "titanium": (TITANIUM, TITANIUM),
    "titanium_cobalt": (TITANIUM, COBALT_CHROME),
    "steel": (STEEL, STEEL),
}
"""Combinations by name: the metal of the screws, the metal of the rods."""

SMALLEST_SCREW_MM, LARGEST_SCREW_MM, SCREW_STEP_MM = 4.0, 7.5, 0.5
LENGTHS_MM = tuple(range(20, 60, 5))
ISTHMUS_SHARE, TIP_GAP_MM = 0.8, 4.0
MAX_PROUD_MM, MAX_SUNK_MM = 6.0, 3.0
"""How far a head may be raised off the bone or sunk into it to line up with its neighbours."""
THINNER_SHARE, SHORTER_SHARE = 0.3, 0.3
"""How often a surgeon takes a screw one size below the largest that fits."""


def metals_of(alloy: str) -> tuple[str, str]:
    """The metal of the screws and that of the rods.

    Args:
        alloy: A combination in :data:`ALLOYS`; else a material's name, for both, or ``SCREWS/RODS``.
    """
    screws, divided, rods = alloy.partition("/")
    return ALLOYS.get(alloy, (screws, rods if divided else screws))


def screw_diameter_mm(width_mm: float) -> float | None:
    """The largest standard diameter for an isthmus of ``width_mm``, or None where 4 mm does not fit."""
    if width_mm < SMALLEST_SCREW_MM:
        return None
    steps = math.floor(ISTHMUS_SHARE * width_mm / SCREW_STEP_MM + 1e-9)
    return float(np.clip(steps * SCREW_STEP_MM, SMALLEST_SCREW_MM, LARGEST_SCREW_MM))


def screw_length_mm(depth_mm: float) -> float | None:
    """The longest standard length whose tip stays 4 mm behind the anterior cortex, or None."""
    fitting = [length for length in LENGTHS_MM if length <= depth_mm - TIP_GAP_MM]
    return float(fitting[-1]) if fitting else None


def reach_z_mm(pedicle: Pedicle) -> tuple[float, float]:
    """Lowest and highest z in mm of the axis from the entry to the tip of the longest screw."""
    length = screw_length_mm(pedicle.depth_mm) or 0.0
    ends = sorted((pedicle.entry_mm[2], pedicle.entry_mm[2] + length * pedicle.direction[2]))
    return ends[0], ends[1]
