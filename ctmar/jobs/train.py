"""Training: data, model, fit, and the evaluation on the test split."""

import logging
import os
import signal
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from ctmar.callbacks import finish_wandb
from ctmar.callbacks.as_configured import AsConfigured
from ctmar.callbacks.config_in_checkpoint import ConfigInCheckpoint
from ctmar.callbacks.resumable_csv import ResumableCSV
from ctmar.callbacks.wandb_report import arrange, log_report
from ctmar.callbacks.whole_checkpoints import WholeCheckpoints
from ctmar.config.build import (
    build_callbacks,
    build_data,
    build_loggers,
    build_metrics,
    build_model,
    make,
    method_of,
    set_threads,
)
from ctmar.config.composing import plain
from ctmar.config.resume import goes_on_in_its_folder, resumed, say
from ctmar.config.settings import check_settings
from ctmar.data.module import MARDataModule
from ctmar.errors import CtmarError
from ctmar.evaluation import evaluate_case
from ctmar.jobs.evaluate import evaluate_method, flat, limit_of, load_checkpoint, load_weights
from ctmar.jobs.folder import output_dir
from ctmar.jobs.foreseen import require_fit
from ctmar.methods import Method, Uncorrected
from ctmar.methods.base import slices_for
from ctmar.metrics import CASE_METRICS, Metric
from ctmar.training.fit import Fit

TOLD_ALREADY = ("Checkpoint directory .* exists and is not empty", "Be aware that when using `ckpt_path`")
"""Warnings of Lightning's about what a resumed run says itself, or is meant to do."""


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> float | None:
    """What a sweep sees of a run: the metric it optimises."""
    metrics, objects = train(cfg, overrides)
    name = objects["cfg"].optimized_metric
    if not name or name in metrics or objects["trainer"] is None:
        return metrics.get(name)
    if name.startswith("val/") and not any(known.startswith("val/") for known in metrics):
        say(f"this run validated nothing: optimized_metric={name} has no value")
        return None
    known = ", ".join(metrics) or "none"
    raise CtmarError(f"optimized_metric must be a metric of this run ({known}), got {name!r}")


def train(cfg: DictConfig, overrides: Sequence[str] = ()) -> tuple[dict[str, float], dict[str, Any]]:
    """Trains the config's model and evaluates it on the test split.

    With ``ckpt_path`` a run goes on: its config comes from the checkpoint, and what ``cfg`` differs in from
    the defaults, or ``overrides`` name, is changed.

    Args:
        cfg: ``configs/train.yaml``, composed.
        overrides: The overrides that it was composed with: a default's value counts where it is named here.

    Returns:
        The metrics by name (``val/loss``, ``METHOD/METRIC`` …), and the objects of the run: ``cfg``,
        ``data``, ``model``, ``trainer``, ``summary``.
    """
    check_settings(cfg)
    checkpoint = None if cfg.ckpt_path is None else load_checkpoint(cfg.ckpt_path)
    if checkpoint is not None:
        cfg = resumed(cfg, checkpoint, overrides)
    set_threads(cfg)
    # Lightning's advertisements and device lists would drown the run's own lines.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = build_model(cfg)
    method = method_of(model)
    data = build_data(cfg, slices_for([method]))
    model.check(data.source.ray)
    limit_of(cfg, data)  # what is wrong with it is said before a training, not after
    if checkpoint is not None:
        # Lightning reads it again; here what is wrong with it is said before anything is simulated.
        load_weights(model, checkpoint)
    own = build_metrics(cfg)
    _require_optimised(cfg.optimized_metric, own)
    if cfg.train and isinstance(model, Fit):
        require_fit(cfg, model)
    _simulate_ahead(cfg, model, data, own)
    folder = output_dir(cfg)
    objects: dict[str, Any] = {"cfg": cfg, "data": data, "model": model, "trainer": None, "summary": None}
    metrics: dict[str, float] = {}
    try:
        if cfg.train and isinstance(model, Fit):
            objects["trainer"], metrics = fit(cfg, model, data, checkpoint)
        if cfg.test and (objects["trainer"] is None or objects["trainer"].is_global_zero):
            objects["summary"] = evaluate_method(cfg, method, data, folder, ("train", overrides))
            metrics |= flat(objects["summary"])
            _log_summary(objects["trainer"], objects["summary"])
            log_report(objects["trainer"].loggers if objects["trainer"] else (), folder / "evaluation")
    except BaseException:
        finish_wandb(exit_code=1)
        raise
    # Else the next job of a sweep would write into this job's run.
    finish_wandb()
    return metrics, objects


def fit(
    cfg: DictConfig, model: Fit, data: MARDataModule, checkpoint: dict[str, Any] | None = None
) -> tuple[pl.Trainer, dict[str, float]]:
    """Fits the model, from the checkpoint on where there is one, and leaves its best weights in it."""
    callbacks = [*build_callbacks(cfg), ConfigInCheckpoint(plain(cfg)), AsConfigured()]
    loggers = build_loggers(cfg)
    if checkpoint is not None and goes_on_in_its_folder(cfg, checkpoint):
        _continue(loggers, checkpoint)
    arrange(loggers)
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    # Without the configured callback Lightning would write a checkpoint of its own.
    saves = any(isinstance(callback, pl.callbacks.ModelCheckpoint) for callback in callbacks)
    trainer = make(
        cfg.trainer,
        callbacks=callbacks,
        logger=loggers or False,
        enable_checkpointing=saves,
        enable_progress_bar=bool(cfg.extras.progress_bar),
        plugins=cfg.trainer.get("plugins") or [WholeCheckpoints()],
    )
    try:
        with warnings.catch_warnings():
            for told in TOLD_ALREADY:
                warnings.filterwarnings("ignore", told)
            trainer.fit(model, datamodule=data, ckpt_path=cfg.ckpt_path, weights_only=True)
    except SystemExit:
        # Lightning answers Ctrl-C with an exit status of 1 and no word.
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    if checkpoint is not None and trainer.global_step == checkpoint["global_step"]:
        _say_nothing_was_trained(trainer, checkpoint)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best and os.path.exists(best):
        load_weights(model, torch.load(best, map_location="cpu", weights_only=True))
        kept: Any = trainer.checkpoint_callback
        if kept.best_model_score is not None:  # else nothing is monitored, and the last weights are kept
            metrics[kept.monitor] = float(kept.best_model_score)
    return trainer, metrics


def _continue(loggers: list[Any], checkpoint: dict[str, Any]) -> None:
    """Has the csv logger go on in its file."""
    for logger in loggers:
        if isinstance(logger, ResumableCSV):
            logger.go_on_after(int(checkpoint["epoch"]))


def _say_nothing_was_trained(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    limits = {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
    ends = ", ".join(f"trainer.{name}={value}" for name, value in limits.items() if value not in (None, -1))
    say(
        f"nothing was trained: the checkpoint is of epoch {int(checkpoint['epoch']) + 1},"
        f" step {checkpoint['global_step']}, and the run ends at {ends or 'its time limit'}"
    )


def _require_optimised(name: str | None, own: Mapping[str, Metric]) -> None:
    """Refuses to optimise a figure that the evaluation will not have: before a training, not after it."""
    method, _, metric = (name or "").rpartition("/")
    if method not in ("", "train", "val") and metric not in (*CASE_METRICS, *own):
        raise CtmarError(
            f"optimized_metric must be a metric of this run, got {name!r}; metric=[…] adds one of your own"
        )


def _simulate_ahead(
    cfg: DictConfig, model: Method | Fit, data: MARDataModule, metrics: Mapping[str, Metric]
) -> None:
    """Puts every case that this run needs on disk before the first epoch; tries the user's metrics on one."""
    splits = [
        *(("train", "val") if cfg.train and isinstance(model, Fit) else ()),
        *(("test",) if cfg.test else ()),
    ]
    # Of several processes Lightning starts for one run, the first simulates.
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        data.prepare(*splits)
        if cfg.test and metrics:  # what one returns is looked at now, not after days of training
            case = data.sets["test"][0]
            evaluate_case({"uncorrected": Uncorrected()}, case, cfg.projector.filter, metrics)


def _log_summary(trainer: pl.Trainer | None, summary: dict[str, Any]) -> None:
    """Hands the evaluation's means to every logger."""
    if trainer is None:
        return
    for logger in trainer.loggers:
        logger.log_metrics({f"test/{name}": value for name, value in flat(summary).items()})
        logger.save()
