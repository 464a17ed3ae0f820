"""What every implementation of the fan transform shares: the geometry in pixels and bins."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FanRays:
    """A fan beam as the kernels see it.

    Attributes:
        views: cos and sin of each view's β, ``(2, view)``.
        bins: cos and sin of each bin's γ, ``(2, bin)``.
        radius: Distance of the source from the axis in pixels.
        spacing: Edge of a pixel in mm.
        density: Bins a unit of ``tan γ`` (flat) or of γ (arc).
        centre: The bin of the ray through the axis.
        arc: True for a detector bent around the source.
    """

    views: Floats
    bins: Floats
    radius: float
    spacing: float
    density: float
    centre: float
    arc: bool


def fan_rays(grid: ImageGrid, fan: FanBeam) -> FanRays:
    """The rays of ``fan`` through ``grid``.

    Raises:
        CtmarError: If the source would pass through the image, or the bins are stored mirrored.
    """
    if fan.mirrored:
        raise CtmarError("a backend needs a fan that is not mirrored: RayTransform turns its bins")
    half = math.hypot(*grid.size_mm) / 2
    if fan.src_radius_mm <= half:
        raise CtmarError(
            f"src_radius_mm must exceed the image's half diagonal of {half:.1f} mm, got {fan.src_radius_mm:g}"
        )
    return FanRays(
        views=np.stack([np.cos(fan.theta), np.sin(fan.theta)]),
        bins=np.stack([np.cos(fan.gamma), np.sin(fan.gamma)]),
        radius=fan.src_radius_mm / grid.spacing_mm,
        spacing=grid.spacing_mm,
        density=fan.sdd_mm / fan.det_spacing_mm,
        centre=(fan.det_count - 1) / 2 - fan.det_offset_mm / fan.det_spacing_mm,
        arc=fan.detector == "arc",
    )


def turn_weights(fan: FanBeam) -> Floats:
    """Share of each view in the integral over β ∈ [0, 2π), in rad: half the gap to each neighbour."""
    angles = np.mod(fan.theta, 2 * np.pi)
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
    weights = np.empty_like(angles)
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights
