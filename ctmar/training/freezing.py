"""Layers that a fit leaves as they are."""

from collections.abc import Sequence
from fnmatch import fnmatch

from torch import nn

from ctmar.errors import CtmarError


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Takes the gradient from the parameters whose names match.

    Args:
        model: Any module.
        patterns: As a shell matches files: ``method.generator.net.body.*``; ``method.`` may be left out.

    Returns:
        The names of the frozen parameters.

    Raises:
        CtmarError: A pattern matches nothing.
    """
    frozen = []
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        found = [name for name in names if fnmatch(name, pattern) or fnmatch(name, f"method.{pattern}")]
        if not found:
            raise CtmarError(f"freeze must match parameters such as {names[0]}, got {pattern!r}")
        frozen += found
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return list(dict.fromkeys(frozen))


def keep_statistics(model: nn.Module) -> None:
    """Puts batch norms whose weights are frozen into evaluation mode, so that their statistics stay too.

    To be called once training has begun: Lightning then leaves the mode of each module as it finds it.
    """
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        kept = own and not any(parameter.requires_grad for parameter in own)
        if kept and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
