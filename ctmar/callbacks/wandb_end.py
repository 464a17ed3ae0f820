"""The end of a wandb run: without it the next job of a sweep would write into the last job's run."""

import sys

from pytorch_lightning import Callback, LightningModule, Trainer

from ctmar.errors import CtmarError

STAGES = ("fit", "validate", "test", "predict")


def finish_wandb(exit_code: int = 0) -> bool:
    """Ends the active wandb run, if wandb was imported and has one; says whether it did.

    Never imports wandb itself: where nobody used it, there is nothing to end.
    """
    wandb = sys.modules.get("wandb")
    if wandb is None or getattr(wandb, "run", None) is None:
        return False
    wandb.finish(exit_code=exit_code)
    return True


class FinishWandb(Callback):
    """Ends the wandb run after the last stage of a job, and at an exception.

    Args:
        after: The stage whose end is the job's end. A run that is ended after ``fit`` takes nothing
            from a test that follows; where no test does, use ``fit``.
    """

    def __init__(self, after: str = "test") -> None:
        if after not in STAGES:
            raise CtmarError(f"after must be one of {', '.join(STAGES)}, got {after!r}")
        self.after = after

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ends the run if this was the last stage."""
        if stage == self.after:
            finish_wandb()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Ends the run as failed."""
        finish_wandb(exit_code=1)
