"""The optimiser and its schedule, as settings."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ctmar.errors import CtmarError
from ctmar.training.schedule import cosine_factor, time_share

SCHEDULERS = ("cosine", "none")


@dataclass(frozen=True)
class Optimizer:
    """AdamW with a schedule that is stepped once a training batch.

    Attributes:
        learning_rate: Its largest.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        scheduler: ``cosine`` after a short warm-up over the planned steps or ``trainer.max_time``,
            whichever is further on; or ``none``.
        clip: Largest norm of the gradient; 0 for no limit.
        accumulate: Batches whose gradients are summed before a step; 1 for a step a batch.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    betas: Sequence[float] = (0.9, 0.999)
    scheduler: str = "cosine"
    clip: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise CtmarError(f"scheduler must be one of {', '.join(SCHEDULERS)}, got {self.scheduler!r}")
        if isinstance(self.accumulate, bool) or not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise CtmarError(f"accumulate must be a positive whole number, got {self.accumulate!r}")
        if not self.learning_rate > 0:
            raise CtmarError(f"learning_rate must be positive, got {self.learning_rate!r}")
        for name, value in (("clip", self.clip), ("weight_decay", self.weight_decay)):
            if not value >= 0:
                raise CtmarError(f"{name} must be 0 or more, got {value!r}")

    def of(
        self, parameters: Iterable[nn.Parameter], learning_rate: float | None = None
    ) -> torch.optim.Optimizer:
        """AdamW over the parameters, with another learning rate where one is given."""
        return torch.optim.AdamW(
            parameters,
            lr=self.learning_rate if learning_rate is None else learning_rate,
            betas=(self.betas[0], self.betas[1]),
            weight_decay=self.weight_decay,
        )

    def schedule(
        self, optimizer: torch.optim.Optimizer, trainer: pl.Trainer, players: int = 1, manual: bool = False
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """The learning rate over the steps that a trainer plans.

        Args:
            optimizer: Of which.
            trainer: It knows the steps and the time.
            players: Optimiser steps that a batch adds to ``global_step`` and takes from ``max_steps``.
            manual: Whether gradients are accumulated by hand.
        """
        if self.scheduler == "none":
            return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        steps = trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise CtmarError(f"scheduler=cosine needs trainer.max_epochs or max_steps, got {steps} steps")
        if steps == trainer.max_steps:
            steps //= players
        elif manual:
            steps = math.ceil(steps / self.accumulate)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        timer = next((c for c in callbacks if isinstance(c, pl.callbacks.Timer)), None)
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: cosine_factor(step, int(steps), time_share(timer))
        )
