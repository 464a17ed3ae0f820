"""Where scenes come from: constructs planned as a surgeon would, random metal, or a mixture."""

import logging
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
from ctmar.implants.construct import build, changes
from ctmar.implants.fitting import LENGTH_TOLERANCE_MM, Paths, mesh_files, parametric, with_meshes
from ctmar.implants.plan import Plan
from ctmar.implants.planner import sample_construct
from ctmar.implants.random_metal import build_random_metal, sample_random_metal
from ctmar.implants.rules import metals_of, reach_z_mm
from ctmar.implants.surgery import Habits, sample_surgery
from ctmar.physics.materials import METALS
from ctmar.scenes.sampling import (
    MIN_METAL_MM2,
    choose_slice,
    extent,
    metal_area_mm2,
    not_negative,
    pair,
    parameters,
    sample_pose,
    share,
)
from ctmar.scenes.scene import Scene

log = logging.getLogger("ctmar.scenes")

ATTEMPTS = 20
"""Plans that are tried for one that leaves enough metal in the wanted slices."""


CONSTRUCTS = ("plain", "rich")


class SceneGenerator(Protocol):
    """What puts metal into a body: one of this module's, or any object with this method.

    An attribute ``materials``, the names of all that its metal may be of, is checked before a case is made.
    """

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene whose centre slice is one of ``slices`` and holds metal.

        Args:
            anatomy: The body, shared by many cases: not to be written into.
            slices: Where the centre slice may be (z in voxels).
            rng: Source of all that is drawn: the same numbers, the same scene.

        Raises:
            CtmarError: There is no place for it.
        """
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
        alloys: Weights of ``titanium``, ``titanium_cobalt``, ``steel``, of materials that the scanner knows,
            or of two of these as ``SCREWS/RODS``; the planner's where None.
        angle_jitter_deg: Standard deviation of a screw's angle.
        entry_jitter_mm: Standard deviation of its entry.
        max_rotation_deg: Largest turn of the patient in the scanner.
        max_shift_mm: Largest shift of the patient along each axis.
        construct: ``plain`` for screws and rods; ``rich`` for whole operations: cages, laminectomies,
            cross-links, hooks, wires, cement, screws misplaced or into the pelvis, metal beside the spine
            (``ctmar.implants.surgery``).
        habits: How often each of these is done, by name; the surgery's own where None.
        screw_meshes: STL files, in mm, or folders of them, in place of the parametric shafts; each screw
            takes the one that fits, and stays where none does (:func:`ctmar.implants.with_meshes`).
        mesh_length_tolerance_mm: By how much a mesh that fits may be longer or shorter than planned.
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
        screw_meshes: str | Sequence[str] = (),
        mesh_length_tolerance_mm: float = LENGTH_TOLERANCE_MM,
    ) -> None:
        self.levels = pair("levels", levels)
        self.screw_meshes: Paths = mesh_files(screw_meshes or ())
        self.mesh_length_tolerance_mm = mesh_length_tolerance_mm
        # What is wrong with a file is said at once.
        with_meshes(Plan((), ()), self.screw_meshes, mesh_length_tolerance_mm)
        self._told = False
        if construct not in CONSTRUCTS:
            raise CtmarError(f"construct must be one of {', '.join(CONSTRUCTS)}, got {construct!r}")
        if habits is not None and construct == "plain":
            raise CtmarError("habits must go with construct=rich, got construct='plain'")
        self.habits = Habits.of(habits) if construct == "rich" else None
        self.options: dict[str, Any] = {
            "unilateral_probability": share("unilateral_probability", unilateral_probability),
            "alloys": None if alloys is None else dict(alloys),
            "angle_jitter_deg": not_negative("angle_jitter_deg", angle_jitter_deg),
            "entry_jitter_mm": not_negative("entry_jitter_mm", entry_jitter_mm),
        }
        self.max_rotation_deg = not_negative("max_rotation_deg", max_rotation_deg)
        self.max_shift_mm = not_negative("max_shift_mm", max_shift_mm)

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene with a construct whose metal meets one of ``slices``.

        Raises:
            CtmarError: Where no vertebra that reaches the slices has room for a pedicle screw.
        """
        pedicles, canal, vertebrae = _landmarks(anatomy)
        z_mm = extent(anatomy, slices)
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
                plan = self._with_meshes(plan)
            parts = build(plan)
            center = choose_slice(anatomy, parts, slices, rng)
            if center is not None:
                told = parameters("realistic", center, pose, plan.to_dict())
                return Scene(anatomy, parts, center, pose, told, changes(plan))
        raise CtmarError(_no_room(anatomy, slices, pedicles))

    @property
    def materials(self) -> tuple[str, ...]:
        """Metals that ``alloys`` names."""
        return tuple(dict.fromkeys(m for name in self.options["alloys"] or () for m in metals_of(name)))

    def _with_meshes(self, plan: Plan) -> Plan:
        """The plan with meshes; the first screw that none fits is told, the plans tell of the others."""
        plan = with_meshes(plan, self.screw_meshes, self.mesh_length_tolerance_mm)
        for line in () if self._told else parametric(plan, self.screw_meshes)[:1]:
            log.warning("%s", line)
            self._told = True
        return plan


class RandomGenerator:
    """Metal of random shape anywhere in the body.

    Args:
        pieces: Fewest and most pieces.
        sizes_mm: Smallest and largest length of a piece.
        materials: What the metal is drawn from: names that the scanner knows.
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
        self.pieces, self.sizes_mm = pair("pieces", pieces), pair("sizes_mm", sizes_mm)
        if isinstance(materials, str) or not materials:
            raise CtmarError(f"materials must be a list such as [{', '.join(METALS)}], got {materials!r}")
        self.materials = tuple(materials)
        self.max_rotation_deg = not_negative("max_rotation_deg", max_rotation_deg)
        self.max_shift_mm = not_negative("max_shift_mm", max_shift_mm)

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene with random metal in one of ``slices``.

        Raises:
            CtmarError: Where the slices hold no body.
        """
        extent(anatomy, slices)
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
                return Scene(anatomy, parts, center, pose, parameters("random", center, pose, plan.to_dict()))
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
        self.realistic_ratio = share("realistic_ratio", realistic_ratio)
        self.realistic = realistic or RealisticGenerator()
        self.random = random or RandomGenerator()

    @property
    def materials(self) -> tuple[str, ...]:
        """Those of both."""
        return (*getattr(self.realistic, "materials", ()), *getattr(self.random, "materials", ()))

    def sample(self, anatomy: Anatomy, slices: range, rng: np.random.Generator) -> Scene:
        """A scene of either kind; ``parameters["kind"]`` says which."""
        chosen = self.realistic if rng.random() < self.realistic_ratio else self.random
        return chosen.sample(anatomy, slices, rng)


def _no_room(anatomy: Anatomy, slices: range, pedicles: Sequence[Pedicle]) -> str:
    found = ", ".join(dict.fromkeys(pedicle.level for pedicle in pedicles)) or "none"
    return (
        f"no vertebra in slices {slices.start}-{slices[-1]} of {anatomy.name} has room for a pedicle screw"
        f" (pedicles found in the volume: {found}); anatomy.splits says which slices are whose"
    )
