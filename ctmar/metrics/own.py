"""Metrics of a user's own, measured beside this package's: what one is, its name, its answer."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.metrics.suite import CASE_METRICS, Truth


class Metric(Protocol):
    """One figure of a reconstruction. Any function or object that can be called like this serves."""

    def __call__(self, image_hu: Tensor, truth: Truth) -> Tensor | float:
        """The figure of the slice that is scored.

        Args:
            image_hu: ``(1, row, column)``, HU without metal pasted in; a copy of the metric's own.
            truth: The case; its images and masks are of the same shape, on the CPU.

        Returns:
            One number, as a tensor of one element or a float; NaN where there is nothing to measure.
        """
        ...


def check_metrics(metrics: Mapping[str, Any], taken: Collection[str] = CASE_METRICS) -> None:
    """Refuses what cannot be a metric, before anything is simulated or scored.

    Args:
        metrics: By the name that reports shall use.
        taken: Names that mean something else in reports.

    Raises:
        CtmarError: For a name that is taken or no word, or what is not called with an image and a truth.
    """
    for name, metric in metrics.items():
        if name in taken:
            raise CtmarError(f"metric {name!r} must have another name: reports have a column of that name")
        if not name.isidentifier():
            raise CtmarError(f"a metric's name must be a word of letters, digits and _, got {name!r}")
        if not callable(metric) or not _takes_two(metric):
            raise CtmarError(f"metric {name!r} must be called with image_hu and truth, which it cannot be")


def own_metrics(
    metrics: Mapping[str, Metric], image_hu: Tensor, truth: Truth, case_id: str = ""
) -> dict[str, float]:
    """The figures of one image, by name.

    Args:
        metrics: By name.
        image_hu: ``(1, row, column)``.
        truth: The case.
        case_id: What the case is called, for the error.

    Raises:
        CtmarError: If a metric returns anything but one real number.
    """
    return {name: _number(name, metric(image_hu.clone(), truth), case_id) for name, metric in metrics.items()}


def _number(name: str, value: Any, case_id: str) -> float:
    came = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    single = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    if not single and not (isinstance(value, (int, float)) and not isinstance(value, bool)):
        where = f" in {case_id}" if case_id else ""
        raise CtmarError(f"metric {name!r} must return one number, got {came}{where}")
    return float(torch.as_tensor(value))


def _takes_two(metric: Any) -> bool:
    """Whether it can be called with an image and a truth; so it seems where compiled code does not tell."""
    try:
        inspect.signature(metric).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
