"""Several methods' mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.errors import CtmarError
from ctmar.methods.base import Method, filled
from ctmar.operators import RayTransform


@dataclass(frozen=True, eq=False)
class Ensemble(Method):
    """The weighted mean of completions, whose errors are others.

    Attributes:
        methods: By name.
        shares: The weight of each, positive; divided by their sum.
        name: What reports call it.

    Raises:
        CtmarError: No method, a share that is missing or weighs nothing, or methods of other slices.
    """

    methods: Mapping[str, Method]
    shares: Sequence[float]
    name: str = "ensemble"

    def __post_init__(self) -> None:
        if not self.methods:
            raise CtmarError("methods must be one or more, got none")
        if len(self.shares) != len(self.methods) or not all(0 < share < math.inf for share in self.shares):
            raise CtmarError(
                f"shares must be a positive number for each of {', '.join(self.methods)},"
                f" got {list(self.shares)}"
            )
        slices = sorted({method.slices for method in self.methods.values() if method.slices})
        if len(slices) > 1:
            raise CtmarError(
                f"methods must work on the same number of slices, got {', '.join(map(str, slices))}"
            )

    @property
    def slices(self) -> int | None:  # type: ignore[override]
        """What those need that do not work on any number."""
        return next((method.slices for method in self.methods.values() if method.slices), None)

    @property
    def neighbours(self) -> int:
        """The farthest of theirs."""
        return max(method.neighbours for method in self.methods.values())

    def check(self, ray: RayTransform) -> None:
        """Refuses what one of them refuses."""
        for method in self.methods.values():
            method.check(ray)

    def trace(self, scan: Scan) -> Tensor:
        """The mean."""
        answers = [filled(scan, method) for method in self.methods.values()]
        total = sum(self.shares)
        return torch.stack([a * (s / total) for a, s in zip(answers, self.shares, strict=True)]).sum(0)
