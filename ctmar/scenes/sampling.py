"""What every generator needs: a pose, a slice with enough metal, what a scene tells of itself."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.implants.shapes import Part
from ctmar.scenes.areas import metal_areas_mm2
from ctmar.scenes.scene import Pose, metal_in_slice

MIN_METAL_MM2 = 20.0
"""Metal that the centre slice must hold at least."""
SCREW_SHARE = 0.15
"""Weight of heads and rods beside a screw's shaft, when the centre slice is chosen."""


def sample_pose(max_rotation_deg: float, max_shift_mm: float, rng: np.random.Generator) -> Pose:
    """A pose within the limits, uniform."""
    rotation, x, y = rng.uniform(-1.0, 1.0, 3) * (max_rotation_deg, max_shift_mm, max_shift_mm)
    return Pose(float(rotation), (float(x), float(y)))


def metal_area_mm2(anatomy: Anatomy, parts: Sequence[Part], index: int) -> float:
    """Metal in a slice in mm², on pixels of 1 mm."""
    size = [
        math.ceil(n * s) + 1 for n, s in zip(anatomy.hu.shape[1:], anatomy.spacing_mm[1::-1], strict=True)
    ]
    metal = metal_in_slice(parts, anatomy, index, Pose(), ImageGrid((size[0], size[1]), 1.0))
    return float(sum(image.sum() for image in metal.values()))


def choose_slice(
    anatomy: Anatomy, parts: Sequence[Part], slices: range, rng: np.random.Generator
) -> int | None:
    """One of the slices that hold enough metal, those with much of it likelier; None where none does.

    Args:
        anatomy: The body.
        parts: The metal; shafts (named ``… left screw``, ``… right screw``) count more than the rest.
        slices: Which to choose from.
        rng: Source of the choice.
    """
    shafts = [part for part in parts if part.name.endswith(("left screw", "right screw"))]
    total = metal_areas_mm2(anatomy, parts, slices)
    screw = metal_areas_mm2(anatomy, shafts, slices)
    weights = np.where(total >= MIN_METAL_MM2, screw + SCREW_SHARE * (total - screw), 0.0)
    if weights.sum() <= 0:
        return None
    return slices[int(rng.choice(len(slices), p=weights / weights.sum()))]


def extent(anatomy: Anatomy, slices: range) -> tuple[float, float]:
    """Lowest and highest z in mm of the slices' centres.

    Raises:
        CtmarError: Where a slice lies outside the volume.
    """
    if len(slices) == 0 or min(slices) < 0 or max(slices) >= len(anatomy.hu):
        raise CtmarError(f"slices must lie in 0 to {len(anatomy.hu) - 1} of {anatomy.name}, got {slices}")
    return min(slices) * anatomy.spacing_mm[2], max(slices) * anatomy.spacing_mm[2]


def parameters(kind: str, center: int, pose: Pose, plan: dict[str, Any]) -> dict[str, Any]:
    """What a scene tells of itself, in plain types; materials are found in it under the key ``material``."""
    lies = {"rotation_deg": pose.rotation_deg, "shift_mm": list(pose.shift_mm)}
    return {"kind": kind, "center_slice": int(center), "pose": lies, "plan": plan}


def pair(name: str, values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest of an option, checked."""
    if isinstance(values, str) or len(values) != 2 or not 0 < values[0] <= values[1]:
        raise CtmarError(f"{name} must be (smallest, largest) with 0 < smallest ≤ largest, got {values!r}")
    return values[0], values[1]


def share(name: str, value: float) -> float:
    """An option in [0, 1], checked."""
    if not 0 <= value <= 1:
        raise CtmarError(f"{name} must lie in [0, 1], got {value!r}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """An option from 0 up, checked."""
    if not (math.isfinite(value) and value >= 0):
        raise CtmarError(f"{name} must be 0 or more, got {value!r}")
    return float(value)
