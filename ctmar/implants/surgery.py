"""Whole operations sampled around a construct: cages, decompression, hooks, cement, and screws gone astray.

How often each is done: our choice, for variety, but for misplacement (5 to 15 % of screws reach beyond
grade A in clinical series read by CT, most of them by less than 2 mm).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ctmar.anatomy.body import Anatomy
from ctmar.anatomy.landmarks import Anchor, Canal, Pedicle, Vertebra
from ctmar.anatomy.landmarks.anchors import ANCHORS
from ctmar.anatomy.landmarks.vertebrae import SCREW_LEVELS
from ctmar.anatomy.landmarks.vertebral_bodies import discs, vertebral_body
from ctmar.errors import CtmarError
from ctmar.implants.incidental import sample_incidental
from ctmar.implants.placing import anchor_screw, misplaced
from ctmar.implants.plan import Device, Plan, ScrewPlan
from ctmar.implants.planner import plan_rods, sample_construct
from ctmar.implants.spinal import (
    CAGES,
    PEEK,
    POROUS,
    anterior_plate,
    cage,
    cement,
    cleared,
    cross_link,
    hook,
    interspinous,
    laminar_wire,
    laminectomy,
)

GRADES = {"B": 0.62, "C": 0.24, "D": 0.09, "E": 0.05}
"""How often a misplaced screw has each Gertzbein-Robbins grade."""
FROM_THE_FRONT = ("ALIF", "LLIF")
WIRE_SHARE = 0.3
"""Of the fixations at a lamina; the others are hooks."""
BORE_MM, LEAST_BORED_MM = 1.6, 4.5
"""Of cannulated screws; a thinner screw is solid, whatever the others of its construct are."""


@dataclass(frozen=True)
class Habits:
    """How often a surgeon does what, each a share in [0, 1].

    Attributes:
        misplaced: Of screws, beyond grade A.
        skipped: Of inner levels of constructs of three or more, left without screws.
        cage: Of discs between instrumented levels.
        laminectomy: Of instrumented levels, decompressed.
        cross_link: Of constructs with two rods.
        lamina: Of the uppermost screws, replaced by a hook or a wire.
        cement: Of constructs, cemented around their screws' tips.
        conical, cannulated, monoaxial: Of constructs, with such screws.
        pelvis: Of constructs that reach L5, carried on to sacrum or pelvis where the labels hold them.
        plate: Of constructs with cages put in from the front or the side, with a plate before one.
        interspinous: Of constructs, with a spacer between the processes above them.
        incidental: Of patients, with metal beside the spine: a hip, clips, markers, a stent graft, a lead.
    """

    misplaced: float = 0.1
    skipped: float = 0.1
    cage: float = 0.5
    laminectomy: float = 0.35
    cross_link: float = 0.25
    lamina: float = 0.12
    cement: float = 0.1
    conical: float = 0.4
    cannulated: float = 0.2
    monoaxial: float = 0.15
    pelvis: float = 0.4
    plate: float = 0.3
    interspinous: float = 0.06
    incidental: float = 0.15

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not 0 <= value <= 1:
                raise CtmarError(f"habits.{entry.name} must lie in [0, 1], got {value!r}")

    @classmethod
    def of(cls, shares: Mapping[str, float] | None) -> "Habits":
        """The defaults with some shares replaced.

        Raises:
            CtmarError: An unknown name, or a share out of [0, 1].
        """
        known = [entry.name for entry in fields(cls)]
        unknown = [name for name in shares or {} if name not in known]
        if unknown:
            raise CtmarError(f"habits must be among {', '.join(known)}, got {unknown[0]!r}")
        return cls(**dict(shares or {}))


def sample_surgery(
    pedicles: Sequence[Pedicle],
    vertebrae: Sequence[Vertebra],
    rng: np.random.Generator,
    *,
    habits: Habits,
    canal: Canal | None = None,
    anatomy: Anatomy | None = None,
    anchors: Sequence[Anchor] = (),
    **options: Any,
) -> Plan:
    """A construct as ``sample_construct`` has it, and what else was done.

    Args:
        pedicles: What ``find_pedicles`` found.
        vertebrae: What ``find_vertebrae`` found.
        rng: Source of everything that is sampled.
        habits: How often each thing is done.
        canal: Screws stay out of it, but for those misplaced.
        anatomy: Where metal beside the spine is placed; none where it is None.
        anchors: What ``find_anchors`` found.
        options: Of ``sample_construct``.

    Raises:
        CtmarError: As ``sample_construct``.
    """
    plan = sample_construct(pedicles, rng, canal=canal, vertebrae=vertebrae, **options)
    bones = {vertebra.level: vertebra for vertebra in vertebrae}
    screws = _styled(_astray(_thinned(plan.screws, habits, rng), pedicles, bones, habits, rng), habits, rng)
    rod = plan.rods[0]
    screws, fixed = _at_lamina(screws, plan, bones, habits, rng)
    screws = _to_pelvis(screws, anchors, habits, rng)
    rods = plan_rods([*screws, *fixed], rod.diameter_mm, rod.overhang_mm, rod.material)
    done = replace(plan, screws=tuple(screws), rods=rods)
    devices = [*_lamina_devices(fixed, bones, rng), *_links(done, habits, rng)]
    devices = [*_bone_work(done, bones, habits, rng), *devices]
    devices += _between_processes(done, bones, habits, rng)
    if anatomy is not None and rng.random() < habits.incidental:
        devices += sample_incidental(anatomy, rng)
    return replace(done, devices=tuple(devices))


def _thinned(screws: Sequence[ScrewPlan], habits: Habits, rng: np.random.Generator) -> tuple[ScrewPlan, ...]:
    """Some inner levels left out."""
    levels = list(dict.fromkeys(screw.level for screw in screws))
    left_out = {level for level in levels[1:-1] if rng.random() < habits.skipped}
    return tuple(screw for screw in screws if screw.level not in left_out)


def _astray(
    screws: Sequence[ScrewPlan],
    pedicles: Sequence[Pedicle],
    bones: Mapping[str, Vertebra],
    habits: Habits,
    rng: np.random.Generator,
) -> list[ScrewPlan]:
    """Some screws moved out of their pedicles by a sampled grade, to either side."""
    found = {(pedicle.level, pedicle.side): pedicle for pedicle in pedicles}
    placed = []
    for screw in screws:
        astray, outwards = rng.random() < habits.misplaced, bool(rng.random() < 0.55)
        wanted = str(rng.choice(list(GRADES), p=list(GRADES.values())))
        bone = bones.get(screw.level)
        if astray and bone is not None:
            moved = misplaced(screw, found[screw.level, screw.side], bone, wanted, outwards)
            placed.append(moved or screw)
        else:
            placed.append(screw)
    return placed


def _styled(screws: Sequence[ScrewPlan], habits: Habits, rng: np.random.Generator) -> list[ScrewPlan]:
    """One make of screws for the whole construct."""
    conical, cannulated, monoaxial = rng.random(3) < (habits.conical, habits.cannulated, habits.monoaxial)
    taper = round(float(rng.uniform(0.15, 0.35)), 3) if conical else 0.0
    bores = [BORE_MM if cannulated and s.diameter_mm >= LEAST_BORED_MM else 0.0 for s in screws]
    return [
        replace(s, core_taper=taper, bore_mm=bore, monoaxial=bool(monoaxial))
        for s, bore in zip(screws, bores, strict=True)
    ]


def _at_lamina(
    screws: Sequence[ScrewPlan],
    plan: Plan,
    bones: Mapping[str, Vertebra],
    habits: Habits,
    rng: np.random.Generator,
) -> tuple[list[ScrewPlan], list[ScrewPlan]]:
    """The screws that stay, and those of the uppermost level that give way to a hook or a wire."""
    levels = list(dict.fromkeys(screw.level for screw in screws))
    top = levels[-1] if len(levels) > 2 and rng.random() < habits.lamina else None
    fixed = [screw for screw in screws if screw.level == top and screw.level in bones]
    return [screw for screw in screws if screw not in fixed], fixed


def _to_pelvis(
    screws: Sequence[ScrewPlan], anchors: Sequence[Anchor], habits: Habits, rng: np.random.Generator
) -> list[ScrewPlan]:
    """Anchors of one kind below a construct that reaches L5, on the sides that it has screws on."""
    wanted, kind = rng.random() < habits.pelvis, str(rng.choice(ANCHORS))
    if not wanted or not any(screw.level == "L5" for screw in screws):
        return list(screws)
    sides = {screw.side for screw in screws}
    chosen = [anchor for anchor in anchors if anchor.kind == kind and anchor.side in sides]
    return [*(anchor_screw(anchor, screws[0].material) for anchor in chosen), *screws]


def _between_processes(
    plan: Plan, bones: Mapping[str, Vertebra], habits: Habits, rng: np.random.Generator
) -> tuple[Device, ...]:
    """A spacer between the uppermost screws' level and the one above."""
    order = list(SCREW_LEVELS.values())
    levels = [screw.level for screw in plan.screws if screw.level in order]
    if rng.random() >= habits.interspinous or not levels:
        return ()
    top = max(map(order.index, levels))
    pair = order[top : top + 2]
    if len(pair) < 2 or not all(level in bones for level in pair):
        return ()
    return interspinous(bones[pair[0]], bones[pair[1]], plan.screws[0].material)


def _lamina_devices(
    fixed: Sequence[ScrewPlan], bones: Mapping[str, Vertebra], rng: np.random.Generator
) -> list[Device]:
    wire = rng.random() < WIRE_SHARE
    devices: list[Device] = []
    for screw in fixed:
        bone, rod_at = bones[screw.level], screw.rod_center_mm
        if wire:
            devices.append(laminar_wire(bone, screw.side, rod_at, screw.material))
        else:
            devices += hook(bone, screw.side, rod_at, screw.material)
    return devices


def _links(plan: Plan, habits: Habits, rng: np.random.Generator) -> tuple[Device, ...]:
    """A cross-link between two rods, midway between two heads."""
    wanted, place = rng.random() < habits.cross_link, rng.random()
    if not wanted or len(plan.rods) < 2:
        return ()
    ends = []
    heads = [np.asarray(rod.centers_mm) for rod in plan.rods]
    low, high = max(h[0, 2] for h in heads), min(h[-1, 2] for h in heads)
    if high - low < 20.0:
        return ()
    z = low + (0.3 + 0.4 * place) * (high - low)
    for head in heads:
        ends.append(np.array([np.interp(z, head[:, 2], head[:, k]) for k in range(3)]))
    return cross_link(ends[0], ends[1], plan.rods[0].diameter_mm, plan.rods[0].material)


def _bone_work(
    plan: Plan, bones: Mapping[str, Vertebra], habits: Habits, rng: np.random.Generator
) -> list[Device]:
    """Discs replaced by cages, laminae taken away, cement."""
    levels = list(dict.fromkeys(screw.level for screw in plan.screws))
    kind, material = str(rng.choice(list(CAGES))), str(rng.choice([PEEK, POROUS], p=[0.65, 0.35]))
    devices: list[Device] = []
    plated = ""
    for disc in discs([bones[level] for level in levels if level in bones]):
        if rng.random() < habits.cage:
            devices += [cleared(disc), *cage(disc, kind, material)]
            plated = plated or disc.name
    if rng.random() < habits.plate and plated and kind in FROM_THE_FRONT:
        upper, lower = (vertebral_body(bones[level]) for level in plated.split("/"))
        if upper is not None and lower is not None:
            devices += anterior_plate(lower, upper, plan.screws[0].material)
    for level in levels:
        if rng.random() < habits.laminectomy and level in bones:
            devices.append(laminectomy(bones[level]))
    if rng.random() < habits.cement:
        for screw in plan.screws:
            body = vertebral_body(bones[screw.level]) if screw.level in bones else None
            if body is not None:
                radius = float(rng.uniform(4.0, 8.0))
                devices.append(cement(body, screw.tip_mm - 3.0 * np.asarray(screw.direction), radius, rng))
    return devices
