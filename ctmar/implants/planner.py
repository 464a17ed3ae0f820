"""Constructs of pedicle screws and rods, planned as a surgeon would.

Rules: a screw of at most 80 % of the isthmus (Solitro 2019), the smallest of 4.0 mm where that is less;
its tip at least 4 mm behind the anterior cortex; a rod through the heads; titanium, titanium with
cobalt-chrome rods, or steel throughout.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.implants.canal import Canal
from ctmar.implants.hardware import ROD_DIAMETERS_MM, ScrewShaft, Tulip, spline_rod
from ctmar.implants.pedicles import Pedicle
from ctmar.implants.shapes import Cylinder, FloatArray, Part, Vector, unit, vector
from ctmar.implants.vertebra import LEVELS, Vertebra

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
SEAT_MM = 8.0
"""From the bone at the entry to the rod's axis: the tulip stands on the bone."""


@dataclass(frozen=True)
class ScrewPlan:
    """One screw: where it enters, where it goes, its size and metal (mm, order (x, y, z))."""

    level: str
    side: str
    entry_mm: Vector
    direction: Vector
    diameter_mm: float
    length_mm: float
    material: str
    proud_mm: float = 0.0
    """How far the head stands off the bone, for a smoother rod; below 0 it is sunk into the facet."""

    @property
    def rod_center_mm(self) -> FloatArray:
        """Where the rod passes through the head."""
        return np.asarray(self.entry_mm) - (SEAT_MM + self.proud_mm) * np.asarray(self.direction)

    @property
    def tip_mm(self) -> FloatArray:
        """Where it ends, in the vertebral body."""
        return np.asarray(self.entry_mm) + self.length_mm * np.asarray(self.direction)


@dataclass(frozen=True)
class RodPlan:
    """One rod: the points it passes, its thickness, overhang and metal."""

    side: str
    centers_mm: tuple[Vector, ...]
    diameter_mm: float
    overhang_mm: float
    material: str


@dataclass(frozen=True)
class Plan:
    """A construct as plain data."""

    screws: tuple[ScrewPlan, ...]
    rods: tuple[RodPlan, ...]

    def to_dict(self) -> dict[str, Any]:
        """Lists, numbers and words only, for JSON or YAML."""
        return {
            "screws": [_plain(asdict(screw)) for screw in self.screws],
            "rods": [_plain(asdict(rod)) for rod in self.rods],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The plan that ``to_dict`` wrote."""
        try:
            screws = tuple(
                ScrewPlan(**{**s, "entry_mm": vector(s["entry_mm"]), "direction": vector(s["direction"])})
                for s in data["screws"]
            )
            rods = tuple(
                RodPlan(**{**r, "centers_mm": tuple(vector(point) for point in r["centers_mm"])})
                for r in data["rods"]
            )
        except (KeyError, TypeError) as error:
            raise CtmarError(f"a plan must hold screws and rods with their sizes, got {error}") from None
        return cls(screws, rods)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


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
        alloys: Weight of each combination in ``ALLOYS``.
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
        _sample_screw(pedicle, rng, canal, bones.get(pedicle.level), material=material, jitter=jitter)
        for pedicle in chosen
        if pedicle.side in sides
    ]
    placed = _with_heads_in_line([screw for screw in screws if screw is not None])
    if not placed:
        raise CtmarError(f"a screw must stay out of the canal, got none that does in {_named(chosen)}")
    diameter = float(rng.choice(ROD_DIAMETERS_MM))
    rods = [_plan_rod(placed, side, diameter, overhang_mm, rod_material) for side in ("left", "right")]
    return Plan(placed, tuple(rod for rod in rods if rod is not None))


def _sample_alloy(alloys: Mapping[str, float] | None, rng: np.random.Generator) -> tuple[str, str]:
    weights = dict(alloys or {"titanium": 0.5, "titanium_cobalt": 0.3, "steel": 0.2})
    unknown = set(weights) - set(ALLOYS)
    if unknown or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise CtmarError(f"alloys must give weights to some of {', '.join(ALLOYS)}, got {weights!r}")
    share = np.array(list(weights.values())) / sum(weights.values())
    return ALLOYS[str(rng.choice(list(weights), p=share))]


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
    order = [name for name in LEVELS.values() if any(pedicle.level == name for pedicle in room)]
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
    names = list(LEVELS.values())
    run = [anchor]
    while (above := names.index(run[-1]) + 1) < len(names) and names[above] in order:
        run.append(names[above])
    while (below := names.index(run[0]) - 1) >= 0 and names[below] in order:
        run.insert(0, names[below])
    return run


def _named(pedicles: Sequence[Pedicle]) -> str:
    names = list(dict.fromkeys(pedicle.level for pedicle in pedicles))
    return ", ".join(names) if names else "no whole vertebra"


def _sample_screw(
    pedicle: Pedicle,
    rng: np.random.Generator,
    canal: Canal | None,
    bone: Vertebra | None,
    *,
    material: str,
    jitter: tuple[float, float],
) -> ScrewPlan | None:
    """A screw whose jitter (rad, mm) shrinks, then its diameter, until the canal is free; or None."""
    turn, shift = jitter[0] * rng.standard_normal(2), jitter[1] * rng.standard_normal(2)
    thinner, shorter = rng.random() < THINNER_SHARE, rng.random() < SHORTER_SHARE
    largest = screw_diameter_mm(pedicle.width_mm)
    if largest is None:
        return None
    diameter = max(SMALLEST_SCREW_MM, largest - SCREW_STEP_MM * thinner)
    thinner_ones = np.arange(diameter - SCREW_STEP_MM, SMALLEST_SCREW_MM - 0.01, -SCREW_STEP_MM)
    for scale, size in [
        (1.0, diameter),
        (0.5, diameter),
        (0.0, diameter),
        *((0.0, float(d)) for d in thinner_ones),
    ]:
        entry, direction = _jittered(pedicle, scale * turn, scale * shift)
        length = screw_length_mm(_depth_mm(pedicle, bone, entry, direction))
        if length is None:
            continue
        length = max(float(LENGTHS_MM[0]), length - 5.0 * shorter)
        screw = ScrewPlan(pedicle.level, pedicle.side, entry, direction, size, length, material)
        if canal is None or not canal.contains(_surface(screw)).any():
            return screw
    return None


def _depth_mm(pedicle: Pedicle, bone: Vertebra | None, entry_mm: Vector, direction: Vector) -> float:
    """From the entry to the anterior cortex, on the screw's own line where there is bone to ask."""
    if bone is None:
        return pedicle.depth_mm
    axis = np.asarray(direction)
    start = float((np.asarray(pedicle.isthmus_mm) - np.asarray(entry_mm)) @ axis)
    return start + bone.reach_mm(np.asarray(entry_mm) + start * axis, axis, lasting_mm=0.5)


def _with_heads_in_line(screws: Sequence[ScrewPlan]) -> tuple[ScrewPlan, ...]:
    """Heads raised or sunk along their screws, towards a straight line in the side view: rods bend gently."""
    adjusted = []
    for screw in screws:
        heads = np.array([other.rod_center_mm for other in screws if other.side == screw.side])
        if len(heads) >= 3:
            y = np.polyval(np.polyfit(heads[:, 2], heads[:, 1], 1), screw.rod_center_mm[2])
            raised = (y - screw.rod_center_mm[1]) / max(-screw.direction[1], 0.5)
            proud = float(np.clip(raised, -MAX_SUNK_MM, MAX_PROUD_MM))
            adjusted.append(replace(screw, proud_mm=proud))
        else:
            adjusted.append(screw)
    return tuple(adjusted)


def _jittered(
    pedicle: Pedicle, turn: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[Vector, Vector]:
    """Entry and direction: turned about the isthmus (the wall that matters stays clear), then shifted."""
    axis = np.asarray(pedicle.direction)
    side = unit(np.cross(axis, [0.0, 0.0, 1.0]))
    up = np.cross(side, axis)
    direction = unit(axis + np.tan(turn[0]) * side + np.tan(turn[1]) * up)
    isthmus = np.asarray(pedicle.isthmus_mm)
    back = float(np.linalg.norm(isthmus - np.asarray(pedicle.entry_mm)))
    return vector(isthmus - back * direction + shift[0] * side + shift[1] * up), vector(direction)


def _surface(screw: ScrewPlan) -> FloatArray:
    """Points (n, 3) on a screw's axis and surface, 1 mm apart along it."""
    axis = np.asarray(screw.direction)
    side = unit(np.cross(axis, [0.0, 0.0, 1.0]))
    angles = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)[:, None]
    ring = (np.cos(angles) * side + np.sin(angles) * np.cross(side, axis)) * screw.diameter_mm / 2
    spokes = np.concatenate([np.zeros((1, 3)), 0.5 * ring, ring])
    along = np.arange(0.0, screw.length_mm + 0.5, 1.0)[:, None, None] * axis
    return (np.asarray(screw.entry_mm) + along + spokes).reshape(-1, 3)


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


def build(plan: Plan) -> tuple[Part, ...]:
    """The pieces of a plan: each screw's shaft, head and set screw, then the rods; nothing is sampled."""
    rods = {rod.side: spline_rod(rod.centers_mm, rod.diameter_mm, rod.overhang_mm) for rod in plan.rods}
    diameters = {rod.side: rod.diameter_mm for rod in plan.rods}
    parts: list[Part] = []
    for screw in plan.screws:
        name, direction = f"{screw.level} {screw.side}", np.asarray(screw.direction)
        neck_mm = max(0.0, 3.0 + screw.proud_mm)
        neck = vector(np.asarray(screw.entry_mm) - neck_mm * direction)
        shaft = ScrewShaft(neck, screw.direction, screw.length_mm + neck_mm, screw.diameter_mm)
        parts.append(Part(f"{name} screw", screw.material, shaft))
        if screw.side in rods:
            center, along = (
                screw.rod_center_mm,
                _tangent(np.asarray(rods[screw.side].points_mm), screw.rod_center_mm),
            )
            up = unit(-direction + (direction @ along) * along)
            head = Tulip(vector(center), vector(along), vector(-direction), diameters[screw.side] + 0.2)
            lid = diameters[screw.side] / 2
            cap = Cylinder(vector(center + lid * up), vector(center + 7.5 * up), 4.5)
            parts += [
                Part(f"{name} head", screw.material, head),
                Part(f"{name} set screw", screw.material, cap),
            ]
    rod_parts = [Part(f"{rod.side} rod", rod.material, rods[rod.side]) for rod in plan.rods]
    return tuple(parts + rod_parts)


def _tangent(points: FloatArray, at: FloatArray) -> FloatArray:
    """Direction of the polyline near a point of it, over its two nearest segments."""
    nearest = int(np.clip(np.argmin(np.linalg.norm(points - at, axis=1)), 1, len(points) - 2))
    return unit(points[nearest + 1] - points[nearest - 1])
