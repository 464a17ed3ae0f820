"""The study of the proposed Annex GG as a benchmark: ``benchmark=annex_gg``."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from ctmar.config.build import build_simulator, make
from ctmar.config.cases import case_settings
from ctmar.config.typed import required
from ctmar.data.fingerprint import fingerprint
from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import Conditions, Dose, Scanned, scan_study
from ctmar.evaluation.cases import UNCORRECTED
from ctmar.evaluation.judging import judge_study, judges_of
from ctmar.files import write_text
from ctmar.jobs.made import note_made
from ctmar.methods import Method
from ctmar.methods.base import slices_for
from ctmar.methods.uncorrected import Uncorrected
from ctmar.report.detection import detection_text
from ctmar.report.summary import as_csv
from ctmar.scenes import SpinalRod

KEYS: dict[str, Any] = {
    "name": str,
    "seed": int,
    "photons_per_ray": list[float],
    "contrasts_hu": list[float],
    "realisations": int,
    "judge": str,
    "patch_radii": float,
    "anatomy": dict,
    "generator": dict,
}
MethodsOf = Callable[[DictConfig], Mapping[str, Method]]


def is_detection(cfg: DictConfig) -> bool:
    """Whether the benchmark is a study of detection rather than a set of cases."""
    return "contrasts_hu" in cfg.benchmark


def check_detection(cfg: DictConfig) -> Conditions:
    """The study's conditions, of a config that is whole.

    Raises:
        CtmarError: Names the key, what is required and what came.
    """
    for key, hint in KEYS.items():
        required(cfg.benchmark, "benchmark", key, hint)
    given = cfg.benchmark
    if not given.patch_radii >= 1:
        raise CtmarError(f"benchmark.patch_radii must be 1 or more, got {given.patch_radii}")
    return Conditions(tuple(given.photons_per_ray), tuple(given.contrasts_hu), given.realisations)


def detection(
    cfg: DictConfig, folder: Path, methods_of: MethodsOf, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Scans and judges the study; writes ``evaluation/summary.json``, ``cells.csv`` and ``report.txt``.

    Args:
        cfg: ``configs/benchmark.yaml`` with ``benchmark=annex_gg``, composed.
        folder: Where ``evaluation/`` goes.
        methods_of: The methods of a config: some of their settings are the scanner's, its dose among them.
        overrides: What was asked for, for ``made.json``.

    Returns:
        The summary; see :func:`ctmar.evaluation.judging.judge_study`.
    """
    conditions = check_detection(cfg)
    rod = make(cfg.benchmark.generator)
    if not isinstance(rod, SpinalRod):
        raise CtmarError(f"benchmark.generator must be a SpinalRod, got {type(rod).__name__}")
    radius = rod.lesion_radius_mm / float(cfg.geometry.grid.spacing_mm)
    half = round(cfg.benchmark.patch_radii * radius)
    judges = judges_of(cfg.benchmark.judge, 2 * half + 1, 2 * radius)

    def at(photons_per_ray: float) -> Dose:
        own = of_study(cfg, photons_per_ray)
        methods = {UNCORRECTED: Uncorrected(), **methods_of(own)}
        simulator = build_simulator(own, slices_for(methods.values()))
        for name, method in methods.items():
            if not method.completes:
                raise CtmarError(f"method {name!r} must complete sinograms: the study's scans are its own")
            method.check(simulator.ray)
        return Dose(simulator, methods)

    scanned = scan_study(conditions, at, half=half, filter=cfg.projector.filter)
    summary = judge_study(scanned, judges, cfg.benchmark.seed)
    summary["benchmark"] = {"name": cfg.benchmark.name, "notes": _notes(cfg, conditions, scanned)}
    out = folder / "evaluation"
    write_detection(summary, out)
    doses = list(conditions.photons_per_ray)
    settings = case_settings(of_study(cfg, doses[0]), 1) | {
        "doses": doses,
        "contrasts_hu": list(conditions.contrasts_hu),
        "realisations": conditions.realisations,
    }
    told = f"{cfg.benchmark.name}: {len(conditions)} scans, {len(doses)} doses"
    note_made(out, "benchmark", overrides, of_study(cfg, max(doses)), told, fingerprint(settings), summary)
    return summary


def write_detection(summary: dict[str, Any], folder: Path) -> None:
    """Writes a study's ``cells.csv``, ``report.txt`` and ``summary.json``."""
    write_text(folder / "cells.csv", as_csv(summary["cells"]))
    write_text(folder / "report.txt", detection_text(summary) + "\n")
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")


def of_study(cfg: DictConfig, photons_per_ray: float) -> DictConfig:
    """The config with the study's body, scene, seed and dose, of which methods read their settings."""
    own = copy.deepcopy(cfg)
    with open_dict(own):
        own.anatomy, own.data.generator = own.benchmark.anatomy, own.benchmark.generator
        own.seed = own.data.seed = own.benchmark.seed
        own.scanner.noise.photons_per_ray = photons_per_ray
    return own


def _notes(cfg: DictConfig, conditions: Conditions, scanned: Scanned) -> list[str]:
    side = next(iter(scanned.absent.values()))[UNCORRECTED].shape[-1]
    return [
        f"{len(conditions)} scans: {conditions.realisations} with the lesion at each of"
        f" {len(conditions.photons_per_ray)} doses and {len(conditions.contrasts_hu)} contrasts,"
        " as many without at each dose; every one lies differently and has noise of its own",
        f"patches of {side} × {side} pixels of {scanned.spacing_mm:g} mm, metal left out of all; each half of"
        " the realisations is read by judges trained on the other; intervals: realisations resampled",
        "bias: CT number at the lesion's place without a lesion, less that without noise and metal",
        "clean: the metal-free acquisition, no method",
    ]
