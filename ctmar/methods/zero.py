"""The empty trace of the essay's plain form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.methods.base import Classical


@dataclass(frozen=True)
class Zero(Classical):
    """0 on the trace: what a network completes that is shown nothing behind metal."""

    name = "zero"

    def trace(self, scan: Scan) -> Tensor:
        """0 everywhere."""
        return torch.zeros_like(scan.measured)
