"""A user's own phantom scans under the judges of the proposed Annex GG: ``benchmark=annex_gg_scans``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ctmar.clinical.job import MakeMethod
from ctmar.clinical.phantom_list import methods_in, read_list
from ctmar.clinical.phantom_study import PhantomStudy, Region
from ctmar.config.typed import required
from ctmar.errors import CtmarError
from ctmar.evaluation.annex_gg import REFERENCE
from ctmar.evaluation.cases import UNCORRECTED
from ctmar.evaluation.judging import judge_study, judges_of
from ctmar.jobs.annex_gg import write_detection
from ctmar.jobs.correct import method_from_checkpoint, named_method
from ctmar.methods import Method
from ctmar.methods.elsewhere import find_method

KEYS: dict[str, Any] = {
    "name": str,
    "seed": int,
    "study": str,
    "lesion_at_mm": tuple[float, float] | None,
    "lesion_at_pixel": tuple[float, float] | None,
    "lesion_radius_mm": float,
    "patch_radii": float,
    "realisations": int | None,
    "judge": str,
}


def is_scans(cfg: DictConfig) -> bool:
    """Whether the benchmark is a study of a user's own scans."""
    return "study" in cfg.benchmark


def check_scans(cfg: DictConfig) -> Region:
    """Where the lesion is, of a config that is whole.

    Raises:
        CtmarError: Names the key, what is required and what came.
    """
    if cfg.benchmark.study is None:
        raise CtmarError("benchmark.study must be the CSV file that lists the scans, got None")
    for key, hint in KEYS.items():
        required(cfg.benchmark, "benchmark", key, hint)
    given = cfg.benchmark
    judges_of(given.judge, 1, 1.0)  # what is wrong with it is said before anything is read
    at_mm, at_pixel = (place and tuple(place) for place in (given.lesion_at_mm, given.lesion_at_pixel))
    return Region(given.lesion_radius_mm, given.patch_radii, at_mm, at_pixel)


def judged_scans(cfg: DictConfig, folder: Path, extra: Mapping[str, Method] | None = None) -> dict[str, Any]:
    """Reads, corrects and judges the scans; writes what :func:`~ctmar.jobs.annex_gg.detection` writes.

    Args:
        cfg: ``configs/benchmark.yaml`` with ``benchmark=annex_gg_scans``, composed.
        folder: Where ``evaluation/`` goes.
        extra: Methods that are at hand as objects, by name.

    Returns:
        The summary; see :func:`ctmar.evaluation.judging.judge_study`. No header is quoted in it.
    """
    region = check_scans(cfg)
    rows = read_list(Path(cfg.benchmark.study).expanduser())
    listed = methods_in({row.condition for row in rows})
    methods = _methods(cfg, extra)
    twice = [name for name in methods if name in listed or name == REFERENCE]
    if twice:
        raise CtmarError(f"a method must be listed or made here (models=[…]), got {twice[0]} as both")
    study = PhantomStudy(rows, region, cfg.benchmark.realisations)
    study.corrected(methods, cfg.projector.backend)
    scanned = study.scanned()
    width = 2 * region.radius_mm / scanned.spacing_mm
    summary = judge_study(scanned, judges_of(cfg.benchmark.judge, study.side, width), cfg.benchmark.seed)
    known = any(row.condition.method == REFERENCE for row in rows)
    notes = [
        f"{len(scanned)} images a method of a user's own scans: {study.count} with the lesion at each dose"
        f" and contrast, as many without at each dose; corrected here: {', '.join(methods) or 'none'}",
        f"patches of {study.side} × {study.side} pixels of {scanned.spacing_mm:g} mm, metal of the"
        " uncorrected images left out of all; each half of the realisations is read by judges trained on the"
        " other; intervals: realisations resampled, the n-th of every method as the same scan",
        f"bias: CT number at the lesion's place without a lesion, less the {REFERENCE}'s"
        if known
        else f"bias: not known without rows of the method {REFERENCE}, the phantom without metal and lesion",
        *study.notes,
    ]
    summary["benchmark"] = {"name": cfg.benchmark.name, "notes": notes}
    write_detection(summary, folder / "evaluation")
    return summary


def _methods(cfg: DictConfig, extra: Mapping[str, Method] | None) -> dict[str, MakeMethod]:
    """What corrects the images here: models as ``ctmar correct`` knows them, checkpoints, the user's own."""
    ready = {str(n): find_method(dotted, str(n)) for n, dotted in (cfg.methods or {}).items()}
    named = {str(n): method_from_checkpoint(Path(p))[0] for n, p in (cfg.checkpoints or {}).items()}
    made = {str(name): named_method(str(name)) for name in cfg.models if name != UNCORRECTED}
    return made | {name: _always(method) for name, method in (named | ready | dict(extra or {})).items()}


def _always(method: Method) -> MakeMethod:
    return lambda clipped: method
