"""What Lightning finds out in the middle of a training, said before anything is simulated."""

from collections.abc import Sequence

from omegaconf import DictConfig
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import DeviceStatsMonitor, LearningRateMonitor

from ctmar.config.build import build_callbacks
from ctmar.errors import CtmarError
from ctmar.training.fit import Fit

OURS = ("ctmar.", "pytorch_lightning.")
BY_HAND = {"accumulate_grad_batches": (1, "accumulate"), "gradient_clip_val": (0, "clip")}
"""What Lightning does in its own loop alone: the value that means none, the optimizer's key in its place."""


def require_fit(cfg: DictConfig, fit: Fit) -> None:
    """Holds the trainer's settings and the callbacks against what the model does and logs.

    Args:
        cfg: ``configs/train.yaml``, composed.
        fit: What is to be trained.

    Raises:
        CtmarError: Lightning would refuse them, or wait for a figure that never comes.
    """
    for key, (none, own) in BY_HAND.items():
        value = cfg.trainer.get(key)
        if not fit.automatic_optimization and value not in (None, none):
            raise CtmarError(
                f"trainer.{key} must be left out where two networks take turns"
                f" (model.optimizer.{own} does it), got {value!r}"
            )
    callbacks = build_callbacks(cfg)
    loggers = [node for node in (cfg.get("logger") or {}).values() if node is not None]
    for callback in callbacks:
        if isinstance(callback, LearningRateMonitor | DeviceStatsMonitor) and not loggers:
            name = type(callback).__name__
            raise CtmarError(f"{name} needs a logger to write to (logger=csv), got none")
    watchers = {type(callback).__name__: getattr(callback, "monitor", None) for callback in callbacks}
    of_validation = [name for name, watched in watchers.items() if str(watched).startswith("val/")]
    if of_validation and cfg.trainer.get("limit_val_batches") == 0:
        raise CtmarError(
            f"trainer.limit_val_batches=0 leaves nothing to watch to {', '.join(of_validation)}:"
            " under callbacks their monitor must be train/loss or null, or they themselves null"
        )
    logged = _logged(fit, callbacks)
    for name, watched in watchers.items():
        if watched and logged and watched not in logged:
            raise CtmarError(f"{name} must watch one of {', '.join(logged)}, got {watched!r}")


def _logged(fit: Fit, callbacks: Sequence[Callback]) -> Sequence[str]:
    """The figures that a fit logs; none where code of the user's may log others."""
    ours = all(type(part).__module__.startswith(OURS) for part in (fit, *callbacks))
    return fit.logged_names if ours else ()
