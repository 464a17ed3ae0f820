"""Seven constructs in real CT, scanned as after surgery: ``scripts/tools/draw_constructs.py [FOLDER]``.

Wants the thorax and abdomen volumes in ``CTMAR_DATA``; writes ``docs/constructs/*.png`` or into a folder of
your own. Some minutes on two cores.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ctmar.anatomy import Anatomy, read_anatomy
from ctmar.anatomy.labels import HIP_LEFT, HIP_RIGHT, TISSUES
from ctmar.anatomy.landmarks import find_anchors, find_canal, find_pedicles, find_vertebrae
from ctmar.anatomy.landmarks.anchors import ANCHORS
from ctmar.anatomy.landmarks.vertebral_bodies import discs, vertebral_body
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.implants import Plan, build, plan_construct
from ctmar.implants.construct import changes
from ctmar.implants.placing import misplaced
from ctmar.implants.planner import plan_rods
from ctmar.implants.spinal import POROUS, cage, cement, cleared, cross_link, hook, interspinous, laminectomy
from ctmar.operators import RayTransform
from ctmar.physics import Noise, Scanner, Tube
from ctmar.report.construct import Look, draw_construct
from ctmar.scenes import Scene
from ctmar.units import mu_to_hu

GRID = ImageGrid((320, 320), 1.12)
BEAM = ParallelBeam(450, 457, 1.12)
BEYOND_MM = 15.0
"""Slices scanned above and below the metal."""


class Patient:
    """A CT and what the planner knows of it."""

    def __init__(self, name: str) -> None:
        folder = Path(os.environ.get("CTMAR_DATA") or "../shared/data") / name
        self.anatomy = read_anatomy(folder / "ct.nii.gz", folder / "labels.nii.gz", name)
        self.canal = find_canal(self.anatomy)
        self.vertebrae = {v.level: v for v in find_vertebrae(self.anatomy, self.canal)}
        self.pedicles = find_pedicles(self.anatomy)
        self.discs = {disc.name: disc for disc in discs(tuple(self.vertebrae.values()))}

    def plan(self, levels: list[str], alloy: str = "titanium", rod_mm: float = 5.5) -> Plan:
        """Screws and rods by the rules."""
        return plan_construct(
            self.pedicles,
            canal=self.canal,
            vertebrae=tuple(self.vertebrae.values()),
            levels=levels,
            alloy=alloy,
            rod_diameter_mm=rod_mm,
        )


def thoracolumbar(p: Patient) -> Plan:
    """T11–L1, titanium screws on cobalt-chrome rods."""
    return p.plan(["T11", "T12", "L1"], "titanium_cobalt")


def decompressed(p: Patient) -> Plan:
    """T10–L2 in steel, T12 skipped, laminectomy of T12 and L1, a cross-link."""
    plan = p.plan(["T10", "T11", "L1", "L2"], "steel", 6.35)
    ends = [np.mean([rod.centers_mm[1], rod.centers_mm[2]], axis=0) for rod in plan.rods]
    work = [laminectomy(p.vertebrae[level]) for level in ("T12", "L1")]
    return replace(plan, devices=(*work, *cross_link(ends[0], ends[1], 6.35, "316L")))


def augmented(p: Patient) -> Plan:
    """T12–L2, cannulated screws with cement around their tips."""
    plan = p.plan(["T12", "L1", "L2"])
    rng = np.random.default_rng(1)
    lumps = []
    for screw in plan.screws:
        body = vertebral_body(p.vertebrae[screw.level])
        if body is not None:
            lumps.append(cement(body, screw.tip_mm - 4.0 * np.asarray(screw.direction), 7.0, rng))
    screws = tuple(replace(screw, bore_mm=1.6) for screw in plan.screws)
    return replace(plan, screws=screws, devices=tuple(lumps))


def interbody(p: Patient) -> Plan:
    """L3–L5 with TLIF cages of PEEK and their markers."""
    plan = p.plan(["L3", "L4", "L5"])
    disc = [p.discs[name] for name in ("L3/L4", "L4/L5")]
    return replace(plan, devices=tuple(d for one in disc for d in (cleared(one), *cage(one, "TLIF"))))


def anterior(p: Patient) -> Plan:
    """L3–L4 with an ALIF cage of porous titanium and conical screws; an interspinous spacer at L1/L2."""
    plan = p.plan(["L3", "L4"])
    screws = tuple(replace(screw, core_taper=0.3) for screw in plan.screws)
    above = interspinous(p.vertebrae["L2"], p.vertebrae["L1"], "Ti-6Al-4V")
    disc = p.discs["L3/L4"]
    return replace(plan, screws=screws, devices=(cleared(disc), *cage(disc, "ALIF", POROUS), *above))


def astray(p: Patient) -> Plan:
    """L1–L4 on cobalt-chrome rods, one screw medial by grade C, hooks on top."""
    plan = p.plan(["L2", "L3", "L4"], "titanium_cobalt")
    first = plan.screws[0]
    pedicle = next(x for x in p.pedicles if (x.level, x.side) == (first.level, first.side))
    moved = misplaced(first, pedicle, p.vertebrae[first.level], "C", outwards=False) or first
    above = p.plan(["L1"]).screws
    hooks = [d for s in above for d in hook(p.vertebrae["L1"], s.side, s.rod_center_mm, "Ti-6Al-4V")]
    rods = plan_rods([*plan.screws, *above], 5.5, 8.0, "CoCrMo")
    return Plan((moved, *plan.screws[1:]), rods, tuple(hooks))


def pelvic(p: Patient) -> Plan:
    """L4 and L5 carried on into the ilia by S2-alar-iliac screws."""
    return plan_construct(
        p.pedicles,
        canal=p.canal,
        vertebrae=tuple(p.vertebrae.values()),
        levels=["L4", "L5"],
        anchors=find_anchors(p.anatomy, ["S2AI"]),
    )


CONSTRUCTS: dict[str, tuple[str, Callable[[Patient], Plan]]] = {
    "thoracolumbar": ("thorax", thoracolumbar),
    "decompressed": ("thorax", decompressed),
    "augmented": ("thorax", augmented),
    "interbody": ("abdomen", interbody),
    "anterior": ("abdomen", anterior),
    "astray": ("abdomen", astray),
    "pelvic": ("abdomen", pelvic),
}


def scanned(anatomy: Anatomy, plan: Plan) -> tuple[Look, int]:
    """The body with its construct as the standard scanner shows it, and its first slice."""
    scanner = Scanner(Tube(filtration_mm={"Cu": 0.2}), noise=Noise(electronic_noise=5.0))
    ray = RayTransform(GRID, BEAM)
    fine = RayTransform(GRID.refine(scanner.oversampling), BEAM.refine(scanner.oversampling))
    parts, changed = build(plan), changes(plan)
    step = anatomy.spacing_mm[2]
    low = min(part.shape.bounds_mm()[0][2] for part in parts) - BEYOND_MM
    high = max(part.shape.bounds_mm()[1][2] for part in parts) + BEYOND_MM
    first, last = max(int(low / step), 0), min(int(high / step) + 1, len(anatomy.hu) - 1)
    hu, bone, metal = [], [], []
    for k in range(first, last + 1):
        cut = Scene(anatomy, parts, k, changes=changed).slices((0,), fine.grid)
        scan = scanner.acquire(cut.hu, cut.metal, fine, [np.random.SeedSequence([0, k])])
        hu.append(mu_to_hu(ray.fbp(scan.measured, "hann"), scanner.mu_water).numpy()[0])
        shown = (*TISSUES["spine"], *((HIP_LEFT, HIP_RIGHT) if plan.screws[0].level in ANCHORS else ()))
        bone.append(np.isin(cut.labels[0, ::2, ::2], shown))
        metal.append(sum(m[0, ::2, ::2] for m in cut.metal.values()) > 0.5 if cut.metal else bone[-1] & False)
    spacing = (GRID.spacing_mm, GRID.spacing_mm, step)
    return Look(np.stack(hu), np.stack(bone), np.stack(metal), spacing), first


def main(folder: Path) -> None:
    """Draws all seven."""
    patients = {name: Patient(name) for name in ("thorax", "abdomen")}
    for name, (who, make) in CONSTRUCTS.items():
        patient = patients[who]
        plan, anatomy = make(patient), patient.anatomy
        look, first = scanned(anatomy, plan)
        # The way into the pelvis where there is one.
        screw = plan.screws[0 if plan.screws[0].level in ANCHORS else len(plan.screws) // 2]
        point = np.asarray(screw.entry_mm) + 0.45 * screw.length_mm * np.asarray(screw.direction)
        corner = (np.array(anatomy.hu.shape[:0:-1]) - 1) * anatomy.spacing_mm[:2] / 2
        x, y = point[:2] - corner + (np.array(GRID.shape[::-1]) - 1) * GRID.spacing_mm / 2
        at = (float(x), float(y), float(point[2] - first * anatomy.spacing_mm[2]))
        title = (make.__doc__ or name).splitlines()[0]
        draw_construct(folder / f"{name}.png", look, at, title, flat_metal=False)
        print(f"{folder / name}.png: {title}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "constructs")
