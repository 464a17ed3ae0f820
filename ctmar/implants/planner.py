"""Constructs of pedicle screws and rods, planned as a surgeon would; by chance or by the rules alone."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ctmar.anatomy.landmarks import Anchor, Canal, Pedicle, Vertebra
from ctmar.anatomy.landmarks.vertebrae import SCREW_LEVELS
from ctmar.errors import CtmarError
from ctmar.implants.hardware import ROD_DIAMETERS_MM
from ctmar.implants.placing import anchor_screw, fit_screw, sample_screw, with_heads_in_line
from ctmar.implants.plan import Plan, RodPlan, ScrewPlan
from ctmar.implants.rules import ALLOYS, metals_of, reach_z_mm, screw_diameter_mm, screw_length_mm
from ctmar.physics.materials import MATERIALS
from ctmar.vectors import vector


def sample_construct(
    pedicles: Sequence[Pedicle],
    rng: np.random.Generator,
    *,
    canal: Canal | None = None,
    vertebrae: Sequence[Vertebra] = (),
    z_mm: tuple[float, float] = (-math.inf, math.inf),
    levels: tuple[int, int] = (2, 4),
    unilateral_probability: float = 0.15,
    alloys: Mapping[str, float] | None = None,
    angle_jitter_deg: float = 2.0,
    entry_jitter_mm: float = 0.7,
    overhang_mm: float = 8.0,
) -> Plan:
    """A construct over neighbouring levels with a screw that reaches ``z_mm``.

    Args:
        pedicles: What ``find_pedicles`` found.
        rng: Source of everything that is sampled.
        canal: Screws stay out of it; no check where it is None.
        vertebrae: Bone that a screw's length is measured in once its direction is sampled; along the
            pedicle's own axis where they are not given.
        z_mm: Lowest and highest z in mm (anatomy's frame) that some screw must cross.
        levels: Fewest and most levels, where the anatomy has that many.
        unilateral_probability: Share of constructs on one side alone.
        alloys: Weight of each combination in ``ALLOYS``, material, or ``SCREWS/RODS`` of two materials.
        angle_jitter_deg: Standard deviation of a screw's angle in each of two planes.
        entry_jitter_mm: Standard deviation of its entry in each of two directions.
        overhang_mm: Of the rods beyond the last heads.

    Raises:
        CtmarError: Where no vertebra that reaches ``z_mm`` has room for a screw.
    """
    material, rod_material = _sample_alloy(alloys, rng)
    chosen = _sample_levels(pedicles, rng, z_mm, levels)
    sides = ("left", "right")
    if rng.random() < unilateral_probability:
        here = [p.side for p in chosen if _crosses(p, z_mm)]
        sides = (here[int(rng.integers(len(here)))],) * 2
    bones = {vertebra.level: vertebra for vertebra in vertebrae}
    jitter = math.radians(angle_jitter_deg), entry_jitter_mm
    screws = [
        sample_screw(pedicle, rng, canal, bones.get(pedicle.level), material=material, jitter=jitter)
        for pedicle in chosen
        if pedicle.side in sides
    ]
    placed = with_heads_in_line([screw for screw in screws if screw is not None])
    if not placed:
        raise CtmarError(f"a screw must stay out of the canal, got none that does in {_named(chosen)}")
    diameter = float(rng.choice(ROD_DIAMETERS_MM))
    return Plan(placed, plan_rods(placed, diameter, overhang_mm, rod_material))


def _sample_alloy(alloys: Mapping[str, float] | None, rng: np.random.Generator) -> tuple[str, str]:
    weights = dict(alloys or {"titanium": 0.5, "titanium_cobalt": 0.3, "steel": 0.2})
    if min(weights.values()) < 0 or sum(weights.values()) <= 0:
        known = f"{', '.join(ALLOYS)} or to materials"
        raise CtmarError(f"alloys must give weights to some of {known}, got {weights!r}")
    share = np.array(list(weights.values())) / sum(weights.values())
    return metals_of(str(rng.choice(list(weights), p=share)))


def _crosses(pedicle: Pedicle, z_mm: tuple[float, float]) -> bool:
    low, high = reach_z_mm(pedicle)
    return high >= z_mm[0] and low <= z_mm[1]


def _has_room(pedicle: Pedicle) -> bool:
    return screw_diameter_mm(pedicle.width_mm) is not None and screw_length_mm(pedicle.depth_mm) is not None


def _sample_levels(
    pedicles: Sequence[Pedicle], rng: np.random.Generator, z_mm: tuple[float, float], levels: tuple[int, int]
) -> list[Pedicle]:
    """The pedicles of a run of neighbouring levels around one that reaches ``z_mm``."""
    if not 1 <= levels[0] <= levels[1]:
        raise CtmarError(f"levels must be (fewest, most) with 1 ≤ fewest ≤ most, got {levels!r}")
    room = [pedicle for pedicle in pedicles if _has_room(pedicle)]
    order = [name for name in SCREW_LEVELS.values() if any(pedicle.level == name for pedicle in room)]
    anchors = [name for name in order if any(p.level == name and _crosses(p, z_mm) for p in room)]
    if not anchors:
        raise CtmarError(
            f"a screw needs a whole vertebra with room at the wanted slices, got {_named(pedicles)}"
        )
    anchor = anchors[int(rng.integers(len(anchors)))]
    neighbours = _run_around(order, anchor)
    count = min(int(rng.integers(levels[0], levels[1] + 1)), len(neighbours))
    place = neighbours.index(anchor)
    first = int(rng.integers(max(0, place - count + 1), min(place, len(neighbours) - count) + 1))
    run = neighbours[first : first + count]
    return [pedicle for pedicle in room if pedicle.level in run]


def _run_around(order: Sequence[str], anchor: str) -> list[str]:
    """The levels of ``order`` that are joined to ``anchor`` without a gap."""
    names = list(SCREW_LEVELS.values())
    run = [anchor]
    while (above := names.index(run[-1]) + 1) < len(names) and names[above] in order:
        run.append(names[above])
    while (below := names.index(run[0]) - 1) >= 0 and names[below] in order:
        run.insert(0, names[below])
    return run


def _named(pedicles: Sequence[Pedicle]) -> str:
    names = list(dict.fromkeys(pedicle.level for pedicle in pedicles))
    return ", ".join(names) if names else "no whole vertebra"


def plan_rods(
    screws: Sequence[ScrewPlan], diameter_mm: float, overhang_mm: float, material: str
) -> tuple[RodPlan, ...]:
    """The rods through the screws' heads, left before right."""
    rods = [_plan_rod(screws, side, diameter_mm, overhang_mm, material) for side in ("left", "right")]
    return tuple(rod for rod in rods if rod is not None)


def _plan_rod(
    screws: Sequence[ScrewPlan], side: str, diameter_mm: float, overhang_mm: float, material: str
) -> RodPlan | None:
    """The rod of one side, from the lowest head up; a short straight one where there is one head alone."""
    heads = sorted((screw.rod_center_mm for screw in screws if screw.side == side), key=lambda head: head[2])
    if not heads:
        return None
    if len(heads) == 1:
        heads = [heads[0] - [0.0, 0.0, 8.0], heads[0] + [0.0, 0.0, 8.0]]
    return RodPlan(side, tuple(vector(head) for head in heads), diameter_mm, overhang_mm, material)


def plan_construct(
    pedicles: Sequence[Pedicle],
    *,
    canal: Canal | None = None,
    vertebrae: Sequence[Vertebra] = (),
    levels: Sequence[str] | None = None,
    anchors: Sequence[Anchor] = (),
    alloy: str = "titanium",
    materials: Collection[str] = tuple(MATERIALS),
    rod_diameter_mm: float = 5.5,
    overhang_mm: float = 8.0,
) -> Plan:
    """The construct that the rules alone give: the largest screws on the pedicles' own axes, and rods.

    Args:
        pedicles: What ``find_pedicles`` found.
        canal: Screws stay out of it; no check where it is None.
        vertebrae: Bone that a screw's length is measured in.
        levels: Which to instrument; every level that was found where None.
        anchors: Ways into sacrum and pelvis that are taken as well.
        alloy: One of ``ALLOYS``, a material, or ``SCREWS/RODS`` of two materials.
        materials: Names of the materials that there are.
        rod_diameter_mm: Of both rods.
        overhang_mm: Of the rods beyond the last heads.

    Raises:
        CtmarError: A level that was not found, an unknown alloy, or no pedicle with room.
    """
    material, rod_material = metals_of(alloy)
    if not {material, rod_material} <= set(materials):
        known = f"{', '.join(ALLOYS)} or a material ({', '.join(materials)})"
        raise CtmarError(f"alloy must be one of {known}, got {alloy!r}")
    missing = [level for level in levels or () if all(p.level != level for p in pedicles)]
    if missing:
        raise CtmarError(f"levels must be among those found ({_named(pedicles)}), got {', '.join(missing)}")
    bones = {vertebra.level: vertebra for vertebra in vertebrae}
    wanted = [pedicle for pedicle in pedicles if levels is None or pedicle.level in levels]
    screws = [fit_screw(p, canal, bones.get(p.level), material=material) for p in wanted]
    below = [anchor_screw(anchor, material) for anchor in anchors]
    placed = with_heads_in_line([*below, *(screw for screw in screws if screw is not None)])
    if not placed:
        raise CtmarError(f"a screw needs a whole vertebra with room, got {_named(wanted)}")
    return Plan(placed, plan_rods(placed, rod_diameter_mm, overhang_mm, rod_material))
