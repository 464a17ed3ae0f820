"""One short line an epoch, for logs without a terminal."""

import sys
import time
from collections.abc import Sequence

from pytorch_lightning import Callback, LightningModule, Trainer

from ctmar.errors import CtmarError


class EpochLine(Callback):
    """Prints the epoch, chosen metrics and the seconds that the epoch took.

    Args:
        metrics: Names as the module logs them; those it does not log are left out.
        every_n_epochs: A line after each n-th epoch.
    """

    def __init__(self, metrics: Sequence[str] = ("train/loss", "val/loss"), every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise CtmarError(f"every_n_epochs must be a positive whole number, got {every_n_epochs}")
        self.metrics, self.every_n_epochs = tuple(metrics), every_n_epochs
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the line; validation lies inside the epoch, so its metrics are this epoch's."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or epoch % self.every_n_epochs:
            return
        logged = trainer.callback_metrics
        of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        parts = [f"epoch {epoch}{of}"]
        parts += [f"{name} {float(logged[name]):.5g}" for name in self.metrics if name in logged]
        parts.append(f"{time.monotonic() - self._start:.1f} s")
        print("  ".join(parts), file=sys.stderr, flush=True)
