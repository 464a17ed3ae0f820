"""Evaluation: of the model a run has just trained, of a checkpoint, or of a classical method."""

import pickle  # nosec B403: the name of its exception; nothing is unpickled
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from ctmar.callbacks import finish_wandb
from ctmar.callbacks.config_in_checkpoint import CONFIG_KEY
from ctmar.callbacks.wandb_report import log_report
from ctmar.data.module import MARDataModule
from ctmar.errors import CtmarError
from ctmar.evaluation import ImageMethod, Method, evaluate, format_table, has_own_image
from ctmar.evaluation.lesions import LesionStudy
from ctmar.models.base import Completion
from ctmar.models.classical import Classical, FillCompletion, Uncorrected
from ctmar.models.weights import short
from ctmar.runs.asked import changed
from ctmar.runs.build import build_data, build_model, make, plain, set_threads
from ctmar.runs.folder import output_dir
from ctmar.runs.settings import check_settings
from ctmar.runs.trust import config_of
from ctmar.sample import MARSample

RUN_KEYS = (
    "task_name",
    "paths",
    "ckpt_path",
    "train",
    "evaluation",
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
        if model.trainable:
            raise CtmarError("evaluation needs ckpt_path=…, or a method without weights such as model=li")
    else:
        checkpoint = load_checkpoint(cfg.ckpt_path)
        cfg, differs = changed(cfg, config_of(checkpoint), overrides, "evaluate", RUN_KEYS)
        if differs:
            print(f"changed from the run's config: {', '.join(differs)}", file=sys.stderr, flush=True)
        model = build_model(cfg)
        load_weights(model, checkpoint)
    set_threads(cfg)
    data = build_data(cfg, model.slices or 1)
    model.use_geometry(data.simulator.ray)
    data.prepare("test")
    folder = output_dir(cfg)
    evaluate_model(cfg, model, data, folder)
    if "wandb" in (cfg.logger or {}):
        log_report([make(cfg.logger.wandb)], folder / "evaluation")
        finish_wandb()


def evaluate_model(cfg: DictConfig, model: Completion, data: MARDataModule, folder: Path) -> dict[str, Any]:
    """Scores the model beside the classical methods on the test split, and prints the table.

    Returns:
        The summary, as ``evaluation/summary.json`` in ``folder`` holds it.
    """
    classical = {"uncorrected": Uncorrected()} | {name: FillCompletion(name) for name in cfg.data.fills}
    methods: dict[str, Method | ImageMethod] = {name: _Runs(method) for name, method in classical.items()}
    if isinstance(model, Classical):
        methods[model.name] = as_method(model)
    else:
        device = (
            "cuda"
            if cfg.trainer.accelerator in ("gpu", "auto", "cuda") and torch.cuda.is_available()
            else "cpu"
        )
        methods["model"] = as_method(model.to(device))
    summary = evaluate(
        methods,
        data.test_dataloader(),
        data.simulator.ray,
        folder / "evaluation",
        filter=cfg.projector.filter,
        num_panels=cfg.evaluation.num_panels,
        lesions=LesionStudy(data.simulator.ray, cfg.projector.filter) if cfg.evaluation.lesions else None,
        config=plain(cfg),
    )
    print(format_table(summary), flush=True)
    return summary


def as_method(model: Completion) -> "Method | ImageMethod":
    """The model as the evaluation calls it: no gradients, on its own device, answer on the CPU."""
    model.eval()
    runs = _RunsImages if has_own_image(model) else _Runs
    return runs(model)


class _Runs:
    """A model that completes sinograms; one of single slices answers a stack by its scored centre."""

    def __init__(self, model: Completion) -> None:
        self.model = model

    def __call__(self, sample: MARSample) -> Tensor:
        with torch.inference_mode():
            completed = self.model.complete(self._moved(sample)).cpu()
        given = sample.measured
        if self.model.slices != 1 or given.shape[1] == 1:
            return completed
        middle = given.shape[1] // 2
        return torch.cat([given[:, :middle], completed.to(given), given[:, middle + 1 :]], dim=1)

    def _moved(self, sample: MARSample) -> MARSample:
        return _on(sample, next((p.device for p in self.model.parameters()), torch.device("cpu")))


class _RunsImages(_Runs):
    """A model that has an image of its own to show too."""

    model: Any

    def image_hu(self, sample: MARSample) -> Tensor:
        with torch.inference_mode():
            # A model of three slices needs its neighbours; for others they would be work for nothing.
            several = (self.model.slices or 1) > 1
            image: Tensor = self.model.image_hu(self._moved(sample if several else sample.center()))
        return image.cpu()


def _on(sample: MARSample, device: torch.device) -> MARSample:
    move: Callable[[Any], Any] = lambda x: x.to(device) if isinstance(x, Tensor) else x  # noqa: E731
    fills = {name: fill.to(device) for name, fill in sample.fills.items()}
    return MARSample(*(move(field) for field in sample))._replace(fills=fills)


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
    if not isinstance(checkpoint, dict) or CONFIG_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise CtmarError(f"ckpt_path must be a checkpoint of a ctmar run with its config, {path!r} is none")
    return checkpoint


def _require_undamaged(path: str) -> None:
    """Compares the checksums of a checkpoint's parts, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as parts:
        damaged = parts.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its part {damaged} is damaged")


def load_weights(model: Completion, checkpoint: dict[str, Any]) -> None:
    """Puts a checkpoint's weights into the model it was made from."""
    try:
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
