"""A construct in a user's CT: planned by the rules, by chance, or replayed; written for viewers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ctmar.anatomy import Anatomy, read_anatomy
from ctmar.anatomy.labels import TISSUES
from ctmar.anatomy.landmarks import Anchor, find_anchors, find_canal, find_pedicles, find_vertebrae
from ctmar.anatomy.landmarks.anchors import ANCHORS
from ctmar.anatomy.volume import to_scanner_mm, write_labels
from ctmar.errors import CtmarError
from ctmar.implants import Plan, build, plan_construct, sample_construct
from ctmar.implants.construct import BODY_HU, POROUS
from ctmar.implants.fitting import parametric, with_meshes
from ctmar.implants.hardware import ROD_DIAMETERS_MM
from ctmar.implants.shapes import Part
from ctmar.implants.surface import triangles, voxel_labels, write_stl
from ctmar.jobs.folder import output_dir
from ctmar.physics.materials import named, with_own
from ctmar.report.construct import Look, draw_construct

FILES = ("plan.yaml", "construct.stl", "construct.nii.gz", "picture.png")


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> Plan:
    """Plans, prints the plan and writes ``FILES`` into the run's folder (or ``cfg.folder``)."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    anatomy = read_anatomy(settings["ct"], settings["labels"], convention=settings["convention"])
    known = with_own(settings["scanner"]["materials"])
    plan = (
        Plan.load(Path(settings["plan"])) if settings["plan"] else _planned(anatomy, settings, tuple(known))
    )
    for material in plan.materials():
        if material not in (*BODY_HU, *POROUS):
            named(material, known)
    meshes = settings["screw_meshes"] or ()
    if meshes:
        plan = with_meshes(plan, meshes, settings["mesh_length_tolerance_mm"])
    parts = build(plan)
    folder = Path(settings["folder"]) if settings["folder"] else output_dir(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, plan, parts, anatomy)
    print(plan)
    for line in parametric(plan, meshes) if meshes else ():
        print(line)
    print(f"{', '.join(FILES)} in {folder}")
    return plan


def _planned(anatomy: Anatomy, settings: dict[str, Any], materials: Sequence[str]) -> Plan:
    canal = find_canal(anatomy)
    pedicles, vertebrae = find_pedicles(anatomy), find_vertebrae(anatomy, canal)
    if settings["seed"] is not None:
        seed = settings["seed"]
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise CtmarError(f"seed must be null or a whole number from 0 on, got {seed!r}")
        return sample_construct(pedicles, np.random.default_rng(seed), canal=canal, vertebrae=vertebrae)
    levels, diameter = settings["levels"], settings["rod_diameter_mm"]
    if levels is not None and not isinstance(levels, list):
        raise CtmarError(f"levels must be null or a list such as [L3,L4], got {levels!r}")
    if diameter not in ROD_DIAMETERS_MM:
        known = ", ".join(map(str, ROD_DIAMETERS_MM))
        raise CtmarError(f"rod_diameter_mm must be one of {known}, got {diameter!r}")
    return plan_construct(
        pedicles,
        canal=canal,
        vertebrae=vertebrae,
        levels=levels,
        anchors=_anchors(anatomy, settings["pelvis"]),
        alloy=str(settings["alloy"]),
        materials=materials,
        rod_diameter_mm=diameter,
    )


def _anchors(anatomy: Anatomy, kind: str | None) -> tuple[Anchor, ...]:
    if kind is None:
        return ()
    if kind not in ANCHORS:
        raise CtmarError(f"pelvis must be null or one of {', '.join(ANCHORS)}, got {kind!r}")
    found = find_anchors(anatomy, [kind])
    if not found:
        raise CtmarError(
            f"{kind} screws need sacrum and hip bones in the labels (TotalSegmentator 25, 77, 78) with room"
            f" for them, got none in {anatomy.name}"
        )
    return found


def _write(folder: Path, plan: Plan, parts: Sequence[Part], anatomy: Anatomy) -> None:
    labels = voxel_labels(parts, anatomy.hu.shape, anatomy.spacing_mm)
    if not labels.any():
        raise CtmarError(f"a plan must lie in the CT, got one whose metal is nowhere in {anatomy.name}")
    plan.save(folder / "plan.yaml")
    surfaces = np.concatenate([triangles(part.shape) for part in parts])
    write_stl(folder / "construct.stl", to_scanner_mm(surfaces, anatomy), anatomy.name)
    write_labels(folder / "construct.nii.gz", labels, anatomy)
    bone = np.isin(anatomy.labels, TISSUES["spine"])
    look = Look(anatomy.hu, bone, labels > 0, anatomy.spacing_mm)
    draw_construct(folder / "picture.png", look, _shown(plan, labels, anatomy), anatomy.name)


def _shown(plan: Plan, labels: np.ndarray, anatomy: Anatomy) -> tuple[float, float, float]:
    """A point inside a screw of the middle of the construct; of any metal where there is no screw."""
    if not plan.screws:
        point = np.argwhere(labels > 0).mean(axis=0)[::-1] * anatomy.spacing_mm
    else:
        screw = plan.screws[len(plan.screws) // 2]
        point = np.asarray(screw.entry_mm) + 0.4 * screw.length_mm * np.asarray(screw.direction)
    return float(point[0]), float(point[1]), float(point[2])
