"""Another loss, of the slice that is scored alone."""

from dataclasses import dataclass, field

from torch import Tensor

from ctmar.case import Case, middle_of
from ctmar.losses.base import Loss
from ctmar.losses.root import Root


@dataclass(frozen=True)
class Center:
    """A network of three slices is asked for the middle one: the others are what it sees it by.

    The outer slices' answers stay at the fill, for a network's last layer starts at 0 and nothing moves it.

    Attributes:
        loss: What is measured on the middle slice.
    """

    loss: Loss = field(default_factory=Root)

    def __call__(self, completed: Tensor, case: Case) -> Tensor:
        """See :class:`~ctmar.losses.base.Loss`."""
        return self.loss(completed[:, middle_of(completed.shape[1])], case.center())
