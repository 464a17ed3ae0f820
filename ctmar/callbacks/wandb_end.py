"""The end of a wandb run: without it the next job of a sweep would write into the last job's run."""

import sys


def finish_wandb(exit_code: int = 0) -> bool:
    """Ends the active wandb run, if wandb was imported and has one; says whether it did.

    Never imports wandb itself: where nobody used it, there is nothing to end.
    """
    wandb = sys.modules.get("wandb")
    if wandb is None or getattr(wandb, "run", None) is None:
        return False
    wandb.finish(exit_code=exit_code)
    return True
