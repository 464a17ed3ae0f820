"""What a loss is. Each is a file and a YAML (``configs/loss``, ``configs/term``)."""

from typing import Protocol

from torch import Tensor

from ctmar.case import Case


class Loss(Protocol):
    """What training makes small. Any callable of this form serves."""

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """A scalar of a batch.

        Args:
            completed: Completed sinogram ``(batch, slice, angle, detector)``; perhaps some bins of the
                detector alone, as the case's sinograms are; gradients go back to it.
            case: The batch. Images are stale where cases are turned (``augment.rotate_views``).
        """
        ...


class Term(Loss, Protocol):
    """A loss that is added to the main one.

    Attributes:
        weight: Its factor; 0 leaves it out.
    """

    weight: float
