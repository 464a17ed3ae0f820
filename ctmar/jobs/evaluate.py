"""Evaluation: of the model a run has just trained, of a checkpoint, or of a classical method."""

import pickle  # nosec B403: the name of its exception; nothing is unpickled
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from ctmar.callbacks import finish_wandb
from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.callbacks.wandb_report import log_report
from ctmar.config.asked import changed
from ctmar.config.build import build_data, build_metrics, build_model, make, method_of, set_threads
from ctmar.config.cases import case_settings
from ctmar.config.composing import plain
from ctmar.config.settings import check_settings
from ctmar.config.trust import config_of
from ctmar.data.fingerprint import fingerprint
from ctmar.data.module import MARDataModule
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate, format_table
from ctmar.evaluation.lesions import LesionStudy
from ctmar.evaluation.limit import PhotonLimit
from ctmar.jobs.convert import is_earlier
from ctmar.jobs.folder import output_dir
from ctmar.jobs.made import note_made
from ctmar.learned.weights import short
from ctmar.methods import Method, Uncorrected
from ctmar.methods.base import slices_for
from ctmar.training.fit import Fit

RUN_KEYS = (
    "task_name",
    "paths",
    "ckpt_path",
    "train",
    "evaluation",
    "metric",
    "extras",
    "logger",
    "callbacks",
    "trainer",
)
"""What an evaluation takes from its own command line even where a checkpoint brings a config."""


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Evaluates what ``cfg`` names and prints the table."""
    check_settings(cfg)
    if cfg.ckpt_path is None:
        model = build_model(cfg)
        if isinstance(model, Fit):
            raise CtmarError("evaluation needs ckpt_path=…, or a method without weights such as model=li")
    else:
        checkpoint = load_checkpoint(cfg.ckpt_path)
        cfg, differs = changed(cfg, config_of(checkpoint), overrides, "evaluate", RUN_KEYS)
        if differs:
            print(f"changed from the run's config: {', '.join(differs)}", file=sys.stderr, flush=True)
        model = build_model(cfg)
        load_weights(model, checkpoint)
    set_threads(cfg)
    build_metrics(cfg)  # what is wrong with one is said before anything is simulated
    method = method_of(model)
    data = build_data(cfg, slices_for([method]))
    method.check(data.source.ray)
    limit_of(cfg, data)
    data.prepare("test")
    folder = output_dir(cfg)
    evaluate_method(cfg, method, data, folder, ("evaluate", overrides))
    if "wandb" in (cfg.get("logger") or {}):
        log_report([make(cfg.logger.wandb)], folder / "evaluation")
        finish_wandb()


def evaluate_method(
    cfg: DictConfig,
    method: Method,
    data: MARDataModule,
    folder: Path,
    asked: tuple[str, Sequence[str]] = ("evaluate", ()),
) -> dict[str, Any]:
    """Scores a method beside the classical methods on the test split, and prints the table.

    Args:
        cfg: The run's.
        method: What is scored.
        data: Whose test split.
        folder: Where ``evaluation/`` goes.
        asked: The job and its overrides, for ``made.json``.

    Returns:
        The summary, as ``evaluation/summary.json`` in ``folder`` holds it.
    """
    methods: dict[str, Method] = {"uncorrected": Uncorrected()} | dict(data.source.fills)
    if isinstance(method, torch.nn.Module):
        wanted = cfg.trainer.accelerator in ("gpu", "auto", "cuda") and torch.cuda.is_available()
        method.to("cuda" if wanted else "cpu").eval()
    methods["model" if isinstance(method, torch.nn.Module) else method.name or "model"] = method
    summary = evaluate(
        methods,
        data.test_dataloader(),
        folder / "evaluation",
        filter=cfg.projector.filter,
        metrics=build_metrics(cfg),
        num_panels=cfg.evaluation.num_panels,
        lesions=LesionStudy(cfg.projector.filter, data.source.fills) if cfg.evaluation.lesions else None,
        limit=limit_of(cfg, data),
        config=plain(cfg),
    )
    hash = fingerprint(case_settings(cfg, slices_for([method])))
    told = f"{summary['num_cases']} cases of the test split"
    note_made(folder / "evaluation", *asked, cfg, told, hash, summary)
    print(format_table(summary), flush=True)
    return summary


def limit_of(cfg: DictConfig, data: MARDataModule) -> PhotonLimit | None:
    """What gives test cases their photon limit, where it is asked for; refuses cases that have none."""
    return PhotonLimit({"test": (data.source, "test")}) if cfg.evaluation.limit else None


def require_checkpoint(path: str) -> None:
    """Refuses a path at which there is no file."""
    if not Path(path).is_file():
        raise CtmarError(f"ckpt_path must be a checkpoint file, got {path!r}, which does not exist")


def load_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint of a ctmar run, read without unpickling code."""
    require_checkpoint(path)
    try:
        _require_undamaged(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CtmarError(
            f"ckpt_path must be a checkpoint of ctmar, {path!r} cannot be read: {reason}"
        ) from None
    if isinstance(checkpoint, dict) and is_earlier(checkpoint):
        raise CtmarError(
            f"ckpt_path must be of this version, {path!r} is of an earlier one:"
            " ctmar convert FILE OUT converts it"
        )
    if not isinstance(checkpoint, dict) or CONFIG_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise CtmarError(f"ckpt_path must be a checkpoint of a ctmar run with its config, {path!r} is none")
    return checkpoint


def _require_undamaged(path: str) -> None:
    """Compares the checksums of a checkpoint's parts, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as parts:
        damaged = parts.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its part {damaged} is damaged")


def load_weights(model: Method | Fit, checkpoint: dict[str, Any]) -> None:
    """Puts a checkpoint's weights into the model it was made from."""
    try:
        assert isinstance(model, torch.nn.Module)
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise CtmarError(
            f"the checkpoint's weights do not fit the configured model: {short(error)}"
        ) from None


def flat(summary: dict[str, Any]) -> dict[str, float]:
    """The summary's means as ``METHOD/METRIC``; metrics without a value are left out."""
    return {
        f"{method}/{metric}": value["mean"]
        for method, metrics in summary["methods"].items()
        for metric, value in metrics.items()
        if value["mean"] is not None
    }
