"""Settings of a resumed run as it is configured, where a checkpoint's state brings back the former run's."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping


class AsConfigured(Callback):
    """Keeps learning rates, weight decay, betas and patience from being overwritten by a checkpoint.

    Lightning restores optimisers, schedules and callbacks with their settings, not only with what they have
    gathered: a changed setting would be without effect, and yet stand in the next checkpoint's config. What
    is as it was stays so to the last bit.
    """

    def __init__(self) -> None:
        self._patience: dict[int, int] = {}
        self._groups: list[list[dict[str, Any]]] = []
        self._rates: list[list[float]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes the callbacks' settings; they are restored next."""
        self._patience = {
            place: callback.patience
            for place, callback in enumerate(_callbacks(trainer))
            if isinstance(callback, EarlyStopping)
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the optimisers' settings; they are restored next."""
        self._groups = [
            [{key: value for key, value in group.items() if key != "params"} for group in one.param_groups]
            for one in trainer.optimizers
        ]
        self._rates = [list(getattr(one.scheduler, "base_lrs", [])) for one in trainer.lr_scheduler_configs]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts them back."""
        callbacks = _callbacks(trainer)
        for place, patience in self._patience.items():
            callbacks[place].patience = patience
        for optimizer, groups in zip(trainer.optimizers, self._groups, strict=True):
            for group, configured in zip(optimizer.param_groups, groups, strict=True):
                group.update(configured | {"lr": _rate(group, configured)})
        for config, rates in zip(trainer.lr_scheduler_configs, self._rates, strict=True):
            if rates:
                config.scheduler.base_lrs = rates  # type: ignore[union-attr, assignment]


def _rate(group: dict[str, Any], configured: dict[str, Any]) -> Any:
    """The rate at which a schedule has arrived, from another start where that was changed."""
    start = configured.get("initial_lr")
    if start is None:
        return configured["lr"]
    return group["lr"] if group["initial_lr"] == start else group["lr"] * (start / group["initial_lr"])


def _callbacks(trainer: Trainer) -> list[Any]:
    found: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return found
