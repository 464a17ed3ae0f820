"""Small networks as methods: each part by its name in ``configs``, or as an object of the test's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from ctmar.learned.network import NetworkMethod
from ctmar.learned.rebuilding import rebuilt
from ctmar.methods import Method

CONFIGS = Path(__file__).parents[2] / "configs"
INPUTS = ("measured", "trace", "fill", "path", "difference", "hardening")


def part(group: str, name: str) -> dict[str, Any]:
    """What a YAML of ``configs`` holds."""
    found: dict[str, Any] = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def network_node(kind: str = "unet", **options: Any) -> dict[str, Any]:
    """A network of two small levels; ``options`` replace what its YAML says."""
    return part("network", kind) | {"channels": [8, 16]} | options


def method_node(
    inputs: Sequence[str] = INPUTS,
    fill: str | Method = "nmar",
    network: str | dict[str, Any] | Callable[..., nn.Module] = "unet",
    **settings: Any,
) -> dict[str, Any]:
    """The description of a method; of plain types where only names were given.

    Args:
        inputs: Names of channels.
        fill: A name of ``configs/model``, or a method.
        network: A name of ``configs/network``, what :func:`network_node` gives, or what makes a network.
        settings: Of :class:`~ctmar.learned.network.NetworkMethod`.
    """
    chosen: dict[str, Any] = {}
    for name in inputs:
        chosen |= part("input", name)
    return {
        "_target_": "ctmar.learned.network.NetworkMethod",
        "network": network_node(network) if isinstance(network, str) else network,
        "inputs": chosen,
        "fill": part("model", fill) if isinstance(fill, str) else fill,
        "wrap_views": 8,
        **settings,
    }


def network_method(**options: Any) -> NetworkMethod:
    """What :func:`method_node` describes."""
    method: NetworkMethod = rebuilt(method_node(**options))
    return method


def fitted_method(**options: Any) -> NetworkMethod:
    """The same with weights that all say something, in evaluation mode."""
    torch.manual_seed(1)
    method = network_method(**options)
    for weight in method.generator.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.05)
    return method.eval()
