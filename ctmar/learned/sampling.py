"""Sinograms brought to another number of views and bins, so that a network meets the ones it knows."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctmar.case import Scan
from ctmar.geometry import ParallelBeam
from ctmar.networks.wrap import pad_views
from ctmar.operators import RayTransform


def resample(sinogram: Tensor, source: ParallelBeam, target: ParallelBeam) -> Tensor:
    """A sinogram at another beam's views and bins; both must :attr:`~ctmar.geometry.ParallelBeam.wraps`.

    Linear interpolation where the target is finer, triangle-weighted means where it is coarser. Beyond the
    detector it is 0, as beside the patient; views beyond the range continue as ``p(θ ± π, s) = p(θ, -s)``.

    Args:
        sinogram: ``(..., angle, detector)`` at ``source``; float.
        source: Its beam.
        target: The beam wanted.

    Returns:
        ``(..., angle, detector)`` at ``target``; the same tensor where the beams agree.
    """
    if source == target:
        return sinogram
    across = _weights(_bins(source), _bins(target), max(source.det_spacing_mm, target.det_spacing_mm))
    step, wanted = math.pi / source.num_angles, math.pi / target.num_angles
    margin = min(source.num_angles, math.ceil(max(1.0, wanted / step)) + 1)
    views = (np.arange(source.num_angles + 2 * margin) - margin) * step
    along = _weights(views, np.arange(target.num_angles) * wanted, max(step, wanted))
    padded = pad_views(sinogram, margin)
    left, right = (torch.from_numpy(weights).to(sinogram) for weights in (along, across.T.copy()))
    return left @ padded @ right


def resample_scan(scan: Scan, target: ParallelBeam) -> Scan:
    """The sinograms and fills of a scan at another beam; the trace is every bin that holds some of it.

    The metal mask stays as it is, and the ray transform goes from its pixels to the new beam.
    """
    source = scan.ray.beam
    if source == target:
        return scan

    def move(field: Tensor) -> Tensor:
        return resample(field, source, target)

    trace = move(scan.metal_trace.to(scan.measured.dtype)) > 1e-3
    return replace(
        scan,
        measured=move(scan.measured),
        metal_trace=trace,
        metal_path_mm=torch.where(trace, move(scan.metal_path_mm), 0.0),
        fills={name: move(fill) for name, fill in scan.fills.items()},
        ray=RayTransform(scan.ray.grid, target, scan.ray.backend),
    )


def _bins(beam: ParallelBeam) -> np.ndarray:
    return (np.arange(beam.det_count) - (beam.det_count - 1) / 2) * beam.det_spacing_mm


def _weights(given: np.ndarray, wanted: np.ndarray, width: float) -> np.ndarray:
    """Triangles of half-width ``width`` over the given places, one row a wanted place, summing to 1 or 0."""
    weights = np.clip(1 - np.abs(wanted[:, None] - given[None]) / width, 0, None)
    step = given[1] - given[0] if len(given) > 1 else width
    inside = (wanted > given[0] - step) & (wanted < given[-1] + step)
    total = np.where(inside, weights.sum(1), 1.0)
    return weights / np.maximum(total, 1e-12)[:, None] * inside[:, None]
