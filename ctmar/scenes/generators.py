"""Where scenes come from: constructs planned as a surgeon would, random metal, or a mixture."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.landmarks import (
    Anchor,
    Canal,
    Pedicle,
    Vertebra,
    find_anchors,
    find_canal,
    find_pedicles,
    find_vertebrae,
)
from ctmar.anatomy.masks import body_mask
from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid
from ctmar.implants.construct import build, changes, with_meshes
from ctmar.implants.mesh import shaft_diameter_mm
from ctmar.implants.planner import sample_construct
from ctmar.implants.random_metal import build_random_metal, sample_random_metal
from ctmar.implants.rules import reach_z_mm
from ctmar.implants.shapes import Part
from ctmar.implants.surgery import Habits, sample_surgery
from ctmar.physics.materials import METALS
from ctmar.scenes.areas import metal_areas_mm2
from ctmar.scenes.scene import Pose, Scene, metal_in_slice

MIN_METAL_MM2 = 20.0
"""Metal that the centre slice must hold at least."""
SCREW_SHARE = 0.15
"""Weight of heads and rods beside a screw's shaft, when the centre slice is chosen."""
ATTEMPTS = 20
"""Plans that are tried for one that leaves enough metal in the wanted slices."""


CONSTRUCTS = ("plain", "rich")


class SceneGenerator(Protocol):
    """What puts metal into a body."""

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene whose centre slice is one of ``slices`` and holds metal."""
        ...


@lru_cache(maxsize=24)
def _landmarks(anatomy: Anatomy) -> tuple[tuple[Pedicle, ...], Canal, tuple[Vertebra, ...]]:
    """Pedicles, canal and vertebrae of a body, found once."""
    canal = find_canal(anatomy)
    return find_pedicles(anatomy), canal, find_vertebrae(anatomy, canal)


@lru_cache(maxsize=24)
def _anchors(anatomy: Anatomy) -> tuple[Anchor, ...]:
    """Ways into sacrum and pelvis, found once."""
    return find_anchors(anatomy)


class RealisticGenerator:
    """Pedicle screws and rods along the spine that the labels show.

    Args:
        levels: Fewest and most levels of a construct, where the body has that many.
        unilateral_probability: Share of constructs on one side alone.
        alloys: Weights of ``titanium``, ``titanium_cobalt`` and ``steel``; the planner's where None.
        angle_jitter_deg: Standard deviation of a screw's angle.
        entry_jitter_mm: Standard deviation of its entry.
        max_rotation_deg: Largest turn of the patient in the scanner.
        max_shift_mm: Largest shift of the patient along each axis.
        construct: ``plain`` for screws and rods; ``rich`` for whole operations: cages, laminectomies,
            cross-links, hooks, wires, cement, screws misplaced or into the pelvis, metal beside the spine
            (``ctmar.implants.surgery``).
        habits: How often each of these is done, by name; the surgery's own where None.
        screw_meshes: STL files, in mm, in place of the parametric shafts; each screw takes the thickest
            that is no thicker than it was planned (:func:`ctmar.implants.construct.with_meshes`).
    """

    def __init__(
        self,
        levels: Sequence[int] = (2, 4),
        *,
        construct: str = "plain",
        habits: Mapping[str, float] | None = None,
        unilateral_probability: float = 0.15,
        alloys: Mapping[str, float] | None = None,
        angle_jitter_deg: float = 2.0,
        entry_jitter_mm: float = 0.7,
        max_rotation_deg: float = 3.0,
        max_shift_mm: float = 5.0,
        screw_meshes: Sequence[str] = (),
    ) -> None:
        self.levels = _pair("levels", levels)
        self.screw_meshes = tuple(str(path) for path in screw_meshes or ())
        for path in self.screw_meshes:
            shaft_diameter_mm(path)  # what is wrong with a file is said at once
        if construct not in CONSTRUCTS:
            raise CtmarError(f"construct must be one of {', '.join(CONSTRUCTS)}, got {construct!r}")
        if habits is not None and construct == "plain":
            raise CtmarError("habits must go with construct=rich, got construct='plain'")
        self.habits = Habits.of(habits) if construct == "rich" else None
        self.options: dict[str, Any] = {
            "unilateral_probability": _share("unilateral_probability", unilateral_probability),
            "alloys": None if alloys is None else dict(alloys),
            "angle_jitter_deg": _not_negative("angle_jitter_deg", angle_jitter_deg),
            "entry_jitter_mm": _not_negative("entry_jitter_mm", entry_jitter_mm),
        }
        self.max_rotation_deg = _not_negative("max_rotation_deg", max_rotation_deg)
        self.max_shift_mm = _not_negative("max_shift_mm", max_shift_mm)

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene with a construct whose metal meets one of ``slices``.

        Raises:
            CtmarError: Where no vertebra that reaches the slices has room for a pedicle screw.
        """
        pedicles, canal, vertebrae = _landmarks(anatomy)
        z_mm = _extent(anatomy, slices)
        if not any(low <= z_mm[1] and high >= z_mm[0] for low, high in map(reach_z_mm, pedicles)):
            raise CtmarError(_no_room(anatomy, slices, pedicles))
        pose = sample_pose(self.max_rotation_deg, self.max_shift_mm, rng)
        levels = (int(self.levels[0]), int(self.levels[1]))
        for _ in range(ATTEMPTS):
            options = {"canal": canal, "z_mm": z_mm, "levels": levels, **self.options}
            if self.habits is None:
                plan = sample_construct(pedicles, rng, vertebrae=vertebrae, **options)
            else:
                more = {"anatomy": anatomy, "anchors": _anchors(anatomy), **options}
                plan = sample_surgery(pedicles, vertebrae, rng, habits=self.habits, **more)
            if self.screw_meshes:
                plan = with_meshes(plan, self.screw_meshes)
            parts = build(plan)
            center = _choose_slice(anatomy, parts, slices, rng)
            if center is not None:
                told = _parameters("realistic", center, pose, plan.to_dict())
                return Scene(anatomy, parts, center, pose, told, changes(plan))
        raise CtmarError(_no_room(anatomy, slices, pedicles))


class RandomGenerator:
    """Metal of random shape anywhere in the body.

    Args:
        pieces: Fewest and most pieces.
        sizes_mm: Smallest and largest length of a piece.
        materials: What the metal is drawn from.
        max_rotation_deg: Largest turn of the patient in the scanner.
        max_shift_mm: Largest shift of the patient along each axis.
    """

    def __init__(
        self,
        pieces: Sequence[int] = (1, 6),
        sizes_mm: Sequence[float] = (3.0, 30.0),
        materials: Sequence[str] = METALS,
        max_rotation_deg: float = 3.0,
        max_shift_mm: float = 5.0,
    ) -> None:
        self.pieces, self.sizes_mm = _pair("pieces", pieces), _pair("sizes_mm", sizes_mm)
        unknown = [name for name in materials if name not in METALS]
        if unknown or not materials:
            raise CtmarError(f"materials must be some of {', '.join(METALS)}, got {list(materials)}")
        self.materials = tuple(materials)
        self.max_rotation_deg = _not_negative("max_rotation_deg", max_rotation_deg)
        self.max_shift_mm = _not_negative("max_shift_mm", max_shift_mm)

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene with random metal in one of ``slices``.

        Raises:
            CtmarError: Where the slices hold no body.
        """
        _extent(anatomy, slices)
        pose = sample_pose(self.max_rotation_deg, self.max_shift_mm, rng)
        for _ in range(ATTEMPTS):
            center = slices[int(rng.integers(len(slices)))]
            body = body_mask(anatomy.hu[center], anatomy.spacing_mm)
            if not body.any():
                continue
            pieces = (int(self.pieces[0]), int(self.pieces[1]))
            sizes = (float(self.sizes_mm[0]), float(self.sizes_mm[1]))
            plan = sample_random_metal(
                body, anatomy.spacing_mm, center, rng, pieces=pieces, sizes_mm=sizes, materials=self.materials
            )
            parts = build_random_metal(plan)
            if metal_area_mm2(anatomy, parts, center) >= MIN_METAL_MM2:
                return Scene(
                    anatomy, parts, center, pose, _parameters("random", center, pose, plan.to_dict())
                )
        raise CtmarError(
            f"random metal needs slices with body and pieces of {MIN_METAL_MM2:g} mm² in them,"
            f" got slices {slices.start}-{slices[-1]} of {anatomy.name} and sizes of {self.sizes_mm} mm"
        )


class MixedGenerator:
    """Realistic scenes at a ratio, random metal else.

    Args:
        realistic_ratio: Share of realistic scenes, in [0, 1].
        realistic: Where they come from.
        random: Where the others come from.
    """

    def __init__(
        self,
        realistic_ratio: float = 0.5,
        realistic: SceneGenerator | None = None,
        random: SceneGenerator | None = None,
    ) -> None:
        self.realistic_ratio = _share("realistic_ratio", realistic_ratio)
        self.realistic = realistic or RealisticGenerator()
        self.random = random or RandomGenerator()

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene of either kind; ``parameters["kind"]`` says which."""
        chosen = self.realistic if rng.random() < self.realistic_ratio else self.random
        return chosen.sample(anatomy, slices, rng)


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


def _choose_slice(
    anatomy: Anatomy, parts: Sequence[Part], slices: range, rng: np.random.Generator
) -> int | None:
    """One of the slices that hold enough metal, those rich in screws likelier; None where none does."""
    shafts = [part for part in parts if part.name.endswith(("left screw", "right screw"))]
    total = metal_areas_mm2(anatomy, parts, slices)
    screw = metal_areas_mm2(anatomy, shafts, slices)
    weights = np.where(total >= MIN_METAL_MM2, screw + SCREW_SHARE * (total - screw), 0.0)
    if weights.sum() <= 0:
        return None
    return slices[int(rng.choice(len(slices), p=weights / weights.sum()))]


def _extent(anatomy: Anatomy, slices: range) -> tuple[float, float]:
    """Lowest and highest z in mm of the slices' centres."""
    if len(slices) == 0 or min(slices) < 0 or max(slices) >= len(anatomy.hu):
        raise CtmarError(f"slices must lie in 0 to {len(anatomy.hu) - 1} of {anatomy.name}, got {slices}")
    return min(slices) * anatomy.spacing_mm[2], max(slices) * anatomy.spacing_mm[2]


def _no_room(anatomy: Anatomy, slices: range, pedicles: Sequence[Pedicle]) -> str:
    found = ", ".join(dict.fromkeys(pedicle.level for pedicle in pedicles)) or "none"
    return (
        f"no vertebra in slices {slices.start}-{slices[-1]} of {anatomy.name} has room for a pedicle screw"
        f" (pedicles found in the volume: {found})"
    )


def _parameters(kind: str, center: int, pose: Pose, plan: dict[str, Any]) -> dict[str, Any]:
    lies = {"rotation_deg": pose.rotation_deg, "shift_mm": list(pose.shift_mm)}
    return {"kind": kind, "center_slice": int(center), "pose": lies, "plan": plan}


def _pair(name: str, values: Sequence[float]) -> tuple[float, float]:
    if isinstance(values, str) or len(values) != 2 or not 0 < values[0] <= values[1]:
        raise CtmarError(f"{name} must be (smallest, largest) with 0 < smallest ≤ largest, got {values!r}")
    return values[0], values[1]


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise CtmarError(f"{name} must lie in [0, 1], got {value!r}")
    return float(value)


def _not_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise CtmarError(f"{name} must be 0 or more, got {value!r}")
    return float(value)
