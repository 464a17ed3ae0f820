"""The benchmark: any set of methods on the frozen test set, one table."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from ctmar.callbacks import finish_wandb
from ctmar.callbacks.wandb_report import log_report
from ctmar.config.build import (
    build_metrics,
    build_model,
    make,
    method_named,
    method_of,
    methods_named,
    set_threads,
)
from ctmar.config.composing import plain
from ctmar.config.parts import UnknownPart
from ctmar.config.trust import config_of
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate
from ctmar.evaluation.export import export_scan
from ctmar.evaluation.lesions import LesionStudy
from ctmar.evaluation.limit import PhotonLimit
from ctmar.jobs.annex_gg import check_detection, detection, is_detection
from ctmar.jobs.annex_gg_scans import check_scans, is_scans, judged_scans
from ctmar.jobs.benchmark_keys import Kind, refuse_unread, refuse_values
from ctmar.jobs.evaluate import load_checkpoint, load_weights
from ctmar.jobs.folder import output_dir
from ctmar.jobs.made import note_made
from ctmar.jobs.published import PublishedSet, check_published, is_published, of_files
from ctmar.jobs.test_set import TestSet, check_benchmark
from ctmar.methods import Method
from ctmar.methods.base import slices_for
from ctmar.methods.elsewhere import ImageFolder, find_method
from ctmar.report.detection import detection_text
from ctmar.report.figures import render_distributions
from ctmar.report.table import benchmark_text

CHECKS: Mapping[Kind, Callable[[DictConfig], object]] = {
    "set": check_benchmark,
    "published": check_published,
    "detection": check_detection,
    "scans": check_scans,
}
"""What refuses a config of each kind before anything is made."""


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Scores what ``cfg`` names and prints the tables; or freezes the set."""
    refuse_unread(overrides, kind_of(cfg), str(cfg.benchmark.get("name")))
    kind = checked(cfg)
    set_threads(cfg)
    if cfg.freeze:
        cases = {str(name): int(part.cases) for name, part in cfg.benchmark.parts.items()}
        print(f"cases frozen in {TestSet(cfg, 1, None, frozen=False).freeze(cases)}")
        return
    folder = output_dir(cfg)
    summary = benchmark(cfg, folder, overrides=overrides)
    if "wandb" in (cfg.get("logger") or {}):
        log_report([make(cfg.logger.wandb)], folder / "evaluation")
        finish_wandb()
    judged = kind in ("detection", "scans")
    print(detection_text(summary) if judged else benchmark_text(summary), flush=True)


def checked(cfg: DictConfig) -> Kind:
    """The kind of a config, refused before anything is made where it is not whole, or asks for too much."""
    kind = kind_of(cfg)
    CHECKS[kind](cfg)
    refuse_values(cfg, kind)
    return kind


def kind_of(cfg: DictConfig) -> Kind:
    """What kind of benchmark a config is of."""
    tests: dict[Kind, Callable[[DictConfig], bool]] = {
        "published": is_published,
        "detection": is_detection,
        "scans": is_scans,
    }
    return next((kind for kind, is_one in tests.items() if is_one(cfg)), "set")


def benchmark(
    cfg: DictConfig,
    folder: Path,
    extra: Mapping[str, Method] | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores the config's methods on its test set; writes ``summary.json``, ``cases.csv``, panels, a figure.

    Args:
        cfg: ``configs/benchmark.yaml``, composed.
        folder: Where ``evaluation/`` goes.
        extra: Methods that are at hand as objects, by name.
        overrides: What was asked for, for ``evaluation/made.json``.

    Returns:
        The summary, with ``benchmark``: the set's name, parts that were left out and cases that differ
        from the frozen ones.
    """
    sys.path.insert(0, str(Path.cwd()))  # a method of the user's own lies where the command is called
    kind = checked(cfg)
    if kind == "detection":
        return detection(cfg, folder, lambda own: all_methods(own, extra), overrides)
    if kind == "scans":
        return judged_scans(cfg, folder, extra)
    published = kind == "published"
    if published:
        cfg = of_files(cfg)
    metrics = build_metrics(cfg)
    methods = all_methods(cfg, extra)
    if published:
        cases: PublishedSet | TestSet = PublishedSet(cfg, cfg.num_cases)
    else:
        cases = TestSet(cfg, slices_for(methods.values()), cfg.num_cases)
    methods |= {str(name): ImageFolder(path, str(name)) for name, path in (cfg.images or {}).items()}
    for method in methods.values():
        method.check(cases.ray)
    if not methods:
        raise CtmarError("benchmark needs at least one of models, checkpoints, methods, images, got none")
    limit = None
    if isinstance(cases, TestSet):
        limit = PhotonLimit(cases.sources) if cfg.evaluation.limit else None
        unmade = cases.prepare()
        if unmade:
            raise CtmarError(f"{cases.name} must be made as it was frozen, but {unmade[0]}")
    else:
        methods |= {name: row for name, row in cases.rows().items() if name not in methods}
    filter = cfg.projector.filter
    if cfg.export is not None:
        for case in cases:
            export_scan(case.scan, filter, Path(cfg.export))
    # Planted lesions would change what the files measured.
    lesions = LesionStudy(filter, methods_named(cfg, cfg.data.fills))
    summary = evaluate(
        methods,
        cases,
        folder / "evaluation",
        filter=filter,
        metrics=metrics,
        num_panels=cfg.evaluation.num_panels,
        lesions=lesions if cfg.evaluation.lesions and not published else None,
        limit=limit,
        facts=lambda: {"benchmark": about(cases)},
        config=plain(cfg),
    )
    note_made(folder / "evaluation", "benchmark", overrides, cfg, cases.told(), cases.digest(), summary)
    render_distributions(folder / "evaluation" / "cases.csv", folder / "evaluation" / "near-rmse.png")
    return summary


def all_methods(cfg: DictConfig, extra: Mapping[str, Method] | None = None) -> dict[str, Method]:
    """Models, checkpoints and functions of the user's that the config names, and those at hand."""
    methods = find_models(cfg)
    methods |= {str(name): find_method(dotted, str(name)) for name, dotted in (cfg.methods or {}).items()}
    return methods | dict(extra or {})


def find_models(cfg: DictConfig) -> dict[str, Method]:
    """The catalogue's models and the checkpoints that the config names, in its order."""
    found: dict[str, Method] = {}
    for entry in map(str, cfg.models):
        if entry.endswith(".ckpt"):
            found[run_name(entry)] = from_checkpoint(entry)
        else:
            found[entry] = _named(cfg, entry)
    return found | {str(name): from_checkpoint(path) for name, path in (cfg.checkpoints or {}).items()}


def _named(cfg: DictConfig, name: str) -> Method:
    try:
        return method_named(cfg, name)
    except UnknownPart as error:
        known = ", ".join(map(str, cfg.catalogue))
        raise CtmarError(
            f"models must be of {known}, or paths of checkpoints (*.ckpt), got {name!r}"
        ) from error


def from_checkpoint(path: str) -> Method:
    """The model of a ctmar run, with its weights."""
    checkpoint = load_checkpoint(path)
    model = build_model(config_of(checkpoint))
    load_weights(model, checkpoint)
    return ready(method_of(model))


def ready(method: Method) -> Method:
    """A fitted method, in evaluation mode."""
    if isinstance(method, torch.nn.Module):
        method.eval()
    return method


def run_name(path: str) -> str:
    """What a checkpoint is called in tables: the folder of its run."""
    parts = Path(path).resolve().parts
    return parts[-3] if len(parts) > 2 and parts[-2] == "checkpoints" else Path(path).stem


def about(cases: TestSet | PublishedSet) -> dict[str, Any]:
    """What was scored: the set, what it lacks, and whether it is still the frozen one."""
    if isinstance(cases, PublishedSet):
        return cases.about()
    return {
        "name": cases.name,
        "left_out": cases.left_out,
        "changed_cases": cases.changed,
        "rescanned_cases": cases.rescanned,
    }
