"""The benchmark: any set of methods on the frozen test set, one table."""

import sys
from collections.abc import Mapping, Sequence
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
from ctmar.config.named import Keys, Named
from ctmar.config.parts import UnknownPart
from ctmar.config.trust import config_of
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate
from ctmar.evaluation.export import export_scan
from ctmar.evaluation.lesions import LesionStudy
from ctmar.evaluation.limit import PhotonLimit
from ctmar.jobs.evaluate import load_checkpoint, load_weights
from ctmar.jobs.folder import output_dir
from ctmar.jobs.test_set import TestSet, check_benchmark
from ctmar.methods import Method
from ctmar.methods.elsewhere import ImageFolder, find_method
from ctmar.report.figures import render_distributions
from ctmar.report.table import benchmark_text

PARTS = "benchmark.parts.NAME"
SETS_OWN = "a benchmark of your own has its own parts (benchmark=mine, docs/tutorials/own-benchmark.md)"
UNREAD = {
    "model": "models=[li,nmar] says what is scored, catalogue.NAME.KEY=… with which settings",
    "ckpt_path": "checkpoints={NAME:FILE} scores what a training left",
    "seed": "benchmark.seed=… makes other cases",
    "data.seed": "benchmark.seed=… makes other cases",
    "data.generator": f"{PARTS}.data.generator.KEY=… changes a part's metal; {SETS_OWN}",
    "data.num_cases": "num_cases=N scores the first N cases",
    "anatomy": f"{PARTS}.anatomy.KEY=… changes a part's body; {SETS_OWN}",
}
"""Keys that a training reads and a benchmark does not, and what to write instead."""
UNREAD_GROUPS = {"data": SETS_OWN}
"""Of these the option: single keys, such as ``data.cache`` and ``data.source``, are read."""


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Scores what ``cfg`` names and prints the tables; or freezes the set."""
    refuse_unread(overrides)
    check_benchmark(cfg)
    set_threads(cfg)
    if cfg.freeze:
        cases = {str(name): int(part.cases) for name, part in cfg.benchmark.parts.items()}
        print(f"cases frozen in {TestSet(cfg, 1, None, frozen=False).freeze(cases)}")
        return
    folder = output_dir(cfg)
    summary = benchmark(cfg, folder)
    if "wandb" in (cfg.logger or {}):
        log_report([make(cfg.logger.wandb)], folder / "evaluation")
        finish_wandb()
    print(benchmark_text(summary), flush=True)


def benchmark(cfg: DictConfig, folder: Path, extra: Mapping[str, Method] | None = None) -> dict[str, Any]:
    """Scores the config's methods on its test set; writes ``summary.json``, ``cases.csv``, panels, a figure.

    Args:
        cfg: ``configs/benchmark.yaml``, composed.
        folder: Where ``evaluation/`` goes.
        extra: Methods that are at hand as objects, by name.

    Returns:
        The summary, with ``benchmark``: the set's name, parts that were left out and cases that differ
        from the frozen ones.
    """
    sys.path.insert(0, str(Path.cwd()))  # a method of the user's own lies where the command is called
    metrics = build_metrics(cfg)
    methods = find_models(cfg)
    methods |= {str(name): find_method(dotted, str(name)) for name, dotted in (cfg.methods or {}).items()}
    methods |= dict(extra or {})
    slices = max((method.slices or 1 for method in methods.values()), default=1)
    cases = TestSet(cfg, slices, cfg.num_cases)
    methods |= {str(name): ImageFolder(path, str(name)) for name, path in (cfg.images or {}).items()}
    for method in methods.values():
        method.check(cases.ray)
    if not methods:
        raise CtmarError("benchmark needs at least one of models, checkpoints, methods, images, got none")
    limit = PhotonLimit(cases.sources) if cfg.evaluation.limit else None
    unmade = cases.prepare()
    if unmade:
        raise CtmarError(f"{cases.name} must be made as it was frozen, but {unmade[0]}")
    filter = cfg.projector.filter
    if cfg.export is not None:
        for case in cases:
            export_scan(case.scan, filter, Path(cfg.export))
    summary = evaluate(
        methods,
        cases,
        folder / "evaluation",
        filter=filter,
        metrics=metrics,
        num_panels=cfg.evaluation.num_panels,
        lesions=LesionStudy(filter, methods_named(cfg, cfg.data.fills)) if cfg.evaluation.lesions else None,
        limit=limit,
        facts=lambda: {"benchmark": about(cases)},
        config=plain(cfg),
    )
    render_distributions(folder / "evaluation" / "cases.csv", folder / "evaluation" / "near-rmse.png")
    return summary


def refuse_unread(overrides: Sequence[str]) -> None:
    """Refuses what a training would read and a benchmark does not, by what to write instead.

    Raises:
        CtmarError: Names the key.
    """
    given = Named.of("benchmark", overrides)
    for group, place in given.groups.items():
        _refuse(group, place, UNREAD | UNREAD_GROUPS)
    for keys in given.keys:
        _refuse(".".join(keys), keys, UNREAD)


def _refuse(written: str, place: Keys, unread: Mapping[str, str]) -> None:
    for key, instead in unread.items():
        if place[: key.count(".") + 1] == tuple(key.split(".")):
            raise CtmarError(
                f"a benchmark has cases and methods of its own and reads no {written}: {instead}"
            )


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


def about(cases: TestSet) -> dict[str, Any]:
    """What was scored: the set, what it lacks, and whether it is still the frozen one."""
    return {
        "name": cases.name,
        "left_out": cases.left_out,
        "changed_cases": cases.changed,
        "rescanned_cases": cases.rescanned,
    }
