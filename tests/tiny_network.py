"""A small network as a method, the shipped one's inputs before it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from ctmar.inputs.base import Channel
from ctmar.inputs.difference import Difference
from ctmar.inputs.fill import Fill
from ctmar.inputs.hardening import Hardening
from ctmar.inputs.measured import Measured
from ctmar.inputs.path import Path
from ctmar.inputs.trace import Trace
from ctmar.learned.network import NetworkMethod
from ctmar.methods import NMAR, Method
from ctmar.networks.unet import SinogramUNet

INPUTS: dict[str, Channel] = {
    "measured": Measured(),
    "trace": Trace(),
    "fill": Fill(),
    "path": Path(),
    "difference": Difference(),
    "hardening": Hardening(),
}


def tiny_network(
    inputs: Mapping[str, Channel] | None = None, fill: Method | None = None, seed: int = 0, **options: Any
) -> NetworkMethod:
    """In evaluation mode, its head not the zeros that it starts with; ``options`` of the method."""
    torch.manual_seed(seed)
    network = partial(SinogramUNet, channels=[8, 16])
    channels = INPUTS if inputs is None else inputs
    method = NetworkMethod(network, channels, fill or NMAR(), **{"wrap_views": 8, **options})
    torch.nn.init.normal_(method.generator.net.head.weight)
    return method.eval()
