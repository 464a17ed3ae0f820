"""An exponential moving average of the weights, which validation, checkpoints and the end of a fit use."""

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from ctmar.errors import CtmarError


class EMA(WeightAveraging):
    """Averages weights and batch statistics after every step.

    The decay of step ``n`` is ``min(decay, (1 + n) / (10 + n))``: a short run is not held back by its start.
    A checkpoint's ``state_dict`` is the average; it resumes with both.

    Args:
        decay: In [0, 1): the average's memory is about ``1 / (1 - decay)`` steps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise CtmarError(f"decay must lie in [0, 1), got {decay!r}")
        self.decay = decay
        super().__init__(avg_fn=self.average)

    def average(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        """The average of ``count`` states and the current one."""
        n = int(count)
        decay = min(self.decay, (1 + n) / (10 + n))
        if not averaged.is_floating_point():
            return current
        # In this form what does not change stays as it is, to the last bit.
        return averaged + (1 - decay) * (current - averaged)
