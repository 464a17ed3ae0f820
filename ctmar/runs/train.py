"""Training: data, model, fit, and the evaluation on the test split."""

import logging
import os
import signal
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from ctmar.callbacks import finish_wandb
from ctmar.callbacks.config_in_checkpoint import ConfigInCheckpoint
from ctmar.callbacks.wandb_report import arrange, log_report
from ctmar.callbacks.whole_checkpoints import WholeCheckpoints
from ctmar.data.module import MARDataModule
from ctmar.errors import CtmarError
from ctmar.models.base import Completion
from ctmar.runs.build import (
    build_callbacks,
    build_data,
    build_loggers,
    build_model,
    make,
    plain,
    set_threads,
)
from ctmar.runs.evaluate import evaluate_model, flat, load_checkpoint, load_weights
from ctmar.runs.folder import output_dir
from ctmar.runs.settings import check_settings


def run(cfg: DictConfig, overrides: Sequence[str] = ()) -> float | None:
    """What a sweep sees of a run: the metric it optimises."""
    metrics, objects = train(cfg)
    name = cfg.optimized_metric
    if name and name not in metrics and objects["trainer"] is not None:
        raise CtmarError(f"optimized_metric must be a metric of this run such as val/loss, got {name!r}")
    return metrics.get(name)


def train(cfg: DictConfig) -> tuple[dict[str, float], dict[str, Any]]:
    """Trains the config's model and evaluates it on the test split.

    Args:
        cfg: ``configs/train.yaml``, composed.

    Returns:
        The metrics by name (``val/loss``, ``METHOD/METRIC`` …), and the objects of the run: ``cfg``,
        ``data``, ``model``, ``trainer``, ``summary``.
    """
    check_settings(cfg)
    set_threads(cfg)
    # Lightning's advertisements and device lists would drown the run's own lines.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = build_model(cfg)
    data = build_data(cfg, model.slices or 1)
    model.use_geometry(data.simulator.ray)
    if cfg.ckpt_path is not None:
        # Lightning reads it again; here what is wrong with it is said before anything is simulated.
        load_weights(model, load_checkpoint(cfg.ckpt_path))
    _simulate_ahead(cfg, model, data)
    folder = output_dir(cfg)
    objects: dict[str, Any] = {"cfg": cfg, "data": data, "model": model, "trainer": None, "summary": None}
    metrics: dict[str, float] = {}
    try:
        if cfg.train and model.trainable:
            objects["trainer"], metrics = fit(cfg, model, data)
        if cfg.test and (objects["trainer"] is None or objects["trainer"].is_global_zero):
            objects["summary"] = evaluate_model(cfg, model, data, folder)
            metrics |= flat(objects["summary"])
            _log_summary(objects["trainer"], objects["summary"])
            log_report(objects["trainer"].loggers if objects["trainer"] else (), folder / "evaluation")
    except BaseException:
        finish_wandb(exit_code=1)
        raise
    # Else the next job of a sweep would write into this job's run.
    finish_wandb()
    return metrics, objects


def fit(cfg: DictConfig, model: Completion, data: MARDataModule) -> tuple[pl.Trainer, dict[str, float]]:
    """Fits the model and leaves its best weights in it."""
    callbacks = [*build_callbacks(cfg, data), ConfigInCheckpoint(plain(cfg))]
    loggers = build_loggers(cfg)
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
        trainer.fit(model, datamodule=data, ckpt_path=cfg.ckpt_path, weights_only=True)
    except SystemExit:
        # Lightning answers Ctrl-C with an exit status of 1 and no word.
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best and os.path.exists(best):
        load_weights(model, torch.load(best, map_location="cpu", weights_only=True))
        kept: Any = trainer.checkpoint_callback
        if kept.best_model_score is not None:  # else nothing is monitored, and the last weights are kept
            metrics[kept.monitor] = float(kept.best_model_score)
    return trainer, metrics


def _simulate_ahead(cfg: DictConfig, model: Completion, data: MARDataModule) -> None:
    """Puts every case that this run needs on disk before the first epoch."""
    splits = [*(("train", "val") if cfg.train and model.trainable else ()), *(("test",) if cfg.test else ())]
    # Of several processes Lightning starts for one run, the first simulates.
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        data.prepare(*splits)


def _log_summary(trainer: pl.Trainer | None, summary: dict[str, Any]) -> None:
    """Hands the evaluation's means to every logger."""
    if trainer is None:
        return
    for logger in trainer.loggers:
        logger.log_metrics({f"test/{name}": value for name, value in flat(summary).items()})
        logger.save()
