"""From a sample to the channels that a network sees, by a list of names."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ctmar.completion.hardening import hardening_corrected, hardening_residual
from ctmar.errors import CtmarError
from ctmar.sample import SINOGRAM_FIELDS, MARSample

FILLS = ("zero", "li", "nmar")
"""What a network's output is added to on the trace: nothing (the essay's), LI or NMAR."""

INPUTS = (
    "measured",
    "measured_zeroed",
    "trace",
    "fill",
    "fill_li",
    "fill_nmar",
    "path",
    "difference",
    "hardening",
    "hardening_weighted",
    "angle",
)
"""``measured`` with what was measured behind the metal; ``measured_zeroed`` without (the essay's);
``trace`` 0 or 1; ``fill`` the model's own, ``fill_li`` and ``fill_nmar`` by name; ``path`` the length in
metal; ``difference`` measured minus the model's fill, 0 off the trace; ``hardening`` what of that the
length in metal does not explain (:func:`~ctmar.completion.hardening.hardening_residual`), cut at
±:data:`HARDENING_LIMIT`; ``hardening_weighted`` the same with each ray weighted by its noise and shrunk
by it (:func:`~ctmar.completion.hardening.hardening_corrected` less the fill); ``angle`` the view as
``cos 2θ``: 1 from the front, -1 from the side, no step where the sinogram closes, the same when mirrored."""

HARDENING_LIMIT = 1.5
"""Largest ``hardening``, a line integral: more is the noise of rays on which no photon came through."""


def check_inputs(names: Sequence[str], fill: str) -> None:
    """Raises a CtmarError for an unknown, repeated or missing input, or an unknown fill."""
    unknown = [name for name in names if name not in INPUTS]
    if unknown or not names:
        raise CtmarError(f"inputs must be from {', '.join(INPUTS)}, got {', '.join(unknown) or 'none'}")
    if len(set(names)) < len(names):
        raise CtmarError(f"inputs must not repeat, got {', '.join(names)}")
    if fill not in FILLS:
        raise CtmarError(f"fill must be one of {', '.join(FILLS)}, got {fill!r}")


def fill_sinogram(sample: MARSample, name: str) -> Tensor:
    """A fill as a sinogram ``(batch, slice, angle, detector)``, equal to ``measured`` off the trace.

    Args:
        sample: The batch; its ``fills`` must hold ``name``, except for ``zero``.
        name: ``zero`` (0 on the trace) or a key of ``sample.fills``.

    Raises:
        CtmarError: The sample does not hold that fill.
    """
    if name == "zero":
        return torch.where(sample.metal_trace, torch.zeros_like(sample.measured), sample.measured)
    if name not in sample.fills:
        raise CtmarError(f"the sample must hold the fill {name!r}, got {sorted(sample.fills) or 'none'}")
    return sample.fills[name]


def trace_window(metal_trace: Tensor, margin: int) -> slice:
    """The detector bins that a batch's trace spans in any view, with a margin, symmetric about the axis.

    Symmetric, so that a view continued beyond π, which is flipped, still fits. The whole detector
    where there is no trace.

    Args:
        metal_trace: Bool, ``(..., angle, detector)``.
        margin: Bins beyond the outermost on each side.
    """
    bins = metal_trace.shape[-1]
    touched = torch.nonzero(metal_trace.flatten(0, -2).any(0))
    if len(touched) == 0:
        return slice(0, bins)
    outermost = min(int(touched.min()), bins - 1 - int(touched.max()))
    edge = max(0, outermost - margin)
    return slice(edge, bins - edge)


def cut_bins(sample: MARSample, window: slice) -> MARSample:
    """The same cases with some bins of the detector alone; the images stay as they are."""
    changed: dict[str, Any] = {name: getattr(sample, name)[..., window] for name in SINOGRAM_FIELDS}
    return sample._replace(**changed, fills={name: fill[..., window] for name, fill in sample.fills.items()})


def build_inputs(
    sample: MARSample, names: Sequence[str], fill: str, sinogram_scale: float, path_scale_mm: float
) -> Tensor:
    """Stacks the named inputs as channels, each divided by a constant that is the same for every case.

    Args:
        sample: A batch of ``slice`` slices.
        names: From :data:`INPUTS`; their order is the order of the channels.
        fill: The model's fill, from :data:`FILLS`.
        sinogram_scale: Divides all sinograms but what hardening leaves, which is small.
        path_scale_mm: Divides the length in metal, in mm.

    Returns:
        ``(batch, len(names) * slice, angle, detector)``: all slices of the first name, then the next.
    """
    return torch.cat([_channel(sample, name, fill, sinogram_scale, path_scale_mm) for name in names], dim=1)


def _channel(sample: MARSample, name: str, fill: str, sinogram_scale: float, path_scale_mm: float) -> Tensor:
    if name in ("trace", "path", "angle"):
        return _known(sample, name, path_scale_mm)
    if name == "measured":
        return sample.measured / sinogram_scale
    if name == "difference":
        return (sample.measured - fill_sinogram(sample, fill)) / sinogram_scale
    if name.startswith("hardening"):
        return _hardening(sample, fill, weighted=name == "hardening_weighted")
    sources = {"fill": fill, "fill_li": "li", "fill_nmar": "nmar", "measured_zeroed": "zero"}
    return fill_sinogram(sample, sources[name]) / sinogram_scale


def _known(sample: MARSample, name: str, path_scale_mm: float) -> Tensor:
    """What is known of each ray without its measurement."""
    if name == "trace":
        return sample.metal_trace.to(sample.measured.dtype)
    if name == "path":
        return sample.metal_path_mm / path_scale_mm
    views = torch.arange(sample.measured.shape[-2], device=sample.measured.device)
    return torch.cos(views * (2 * torch.pi / len(views)))[:, None].expand_as(sample.measured)


def _hardening(sample: MARSample, fill: str, weighted: bool) -> Tensor:
    given = fill_sinogram(sample, fill)
    rays = (sample.measured, given, sample.metal_path_mm, sample.metal_trace)
    residual = hardening_corrected(*rays) - given if weighted else hardening_residual(*rays)
    return residual.clamp(-HARDENING_LIMIT, HARDENING_LIMIT)
