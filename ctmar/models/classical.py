"""Methods without parameters, behind the same face as the networks."""

from typing import Any

from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.models.base import Completion
from ctmar.models.inputs import FILLS, fill_sinogram
from ctmar.sample import MARSample


class Uncorrected(Completion):
    """Leaves the trace as it was measured."""

    trainable = False

    def predict_trace(self, sample: MARSample) -> Tensor:
        """``sample.measured`` itself."""
        return sample.measured

    def configure_optimizers(self) -> Any:
        """None: there is nothing to train."""
        return None


class FillCompletion(Completion):
    """A fill of the sample as a method of its own.

    Args:
        name: ``li``, ``nmar`` or ``zero``.
    """

    trainable = False

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in FILLS:
            raise CtmarError(f"name must be one of {', '.join(FILLS)}, got {name!r}")
        self.name = name

    def predict_trace(self, sample: MARSample) -> Tensor:
        """The fill ``(batch, slice, angle, detector)``; a CtmarError where the sample lacks it."""
        return fill_sinogram(sample, self.name)

    def configure_optimizers(self) -> Any:
        """None: there is nothing to train."""
        return None
