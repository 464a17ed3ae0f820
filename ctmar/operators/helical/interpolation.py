"""Single-slice helical sinograms brought to one z: interpolation along the table's way.

Each ray is wanted at ``z*`` and was measured before and behind it (Crawford & King, Med. Phys. 17:967,
1990; Kalender, Computed Tomography, 2005, §3.2). 360LI takes the same ray one turn apart. 180LI takes
the nearest of the ray and its opposite one: the parallel ray (θ, s) is measured at source angles
``θ + kπ + (-1)^k asin(s / R)`` for every whole k, from the far side where k is odd. At pitch 1 the slices
of 180LI are 1.00 collimated slices wide on the axis, those of 360LI 1.27.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, HelicalFan, ParallelBeam
from ctmar.operators import rebinning
from ctmar.operators.rebinning import ORDERS, positions_mm, rebin_fan_to_parallel, taps, two_sides

INTERPOLATIONS = ("360LI", "180LI")
RIM_BINS = 2
"""Offset of a detector up to which the rays that it sees from one side alone are its rim, not its field."""


def interpolate_helical(sinogram: Tensor, helix: HelicalFan, z_mm: float) -> Tensor:
    """360LI: the circular fan's sinogram at ``z_mm``; exact where the object is linear in z.

    Args:
        sinogram: ``(..., V, D)`` of ``helix``; line integrals.
        helix: The rays measured.
        z_mm: The slice wanted.

    Returns:
        ``(..., N, D)`` of ``helix.fan``; linear in the sinogram and differentiable.

    Raises:
        CtmarError: If the shape is not as above, or a turn before or behind ``z_mm`` was not measured.
    """
    _check(sinogram, helix)
    _require(z_mm, covered_z_mm(helix, None, "360LI"), "360LI")
    turn, here = helix.fan.num_angles, helix.view_at(z_mm)
    # Edges of the range may round to just outside.
    last = min(max(math.floor(here + 1e-9), turn - 1), helix.num_views - turn)
    before = last - np.mod(last + helix.start_view - np.arange(turn), turn)
    share = torch.as_tensor((here - before) / turn, dtype=sinogram.dtype, device=sinogram.device)[:, None]
    index = torch.as_tensor(before, device=sinogram.device)
    behind = (index + turn).clamp(max=helix.num_views - 1)
    return (1 - share) * sinogram.index_select(-2, index) + share * sinogram.index_select(-2, behind)


def rebin_helical_to_parallel(
    sinogram: Tensor,
    helix: HelicalFan,
    parallel: ParallelBeam,
    z_mm: float,
    method: str = "180LI",
    order: str = "cubic",
) -> Tensor:
    """The parallel sinogram of the slice at ``z_mm``: differentiable, linear in the sinogram.

    A ray that the fan measures from one side alone is interpolated over a whole turn by 180LI too (at the
    rim of a detector set off by up to two bins it is the nearest where the scan ends before); one that
    misses the detector from both is zero.

    Args:
        sinogram: ``(..., V, D)`` of ``helix``; line integrals.
        helix: The rays measured.
        parallel: The rays wanted.
        z_mm: The slice wanted.
        method: ``360LI`` or ``180LI``.
        order: ``linear`` or ``cubic`` interpolation between views and bins, as in
            :func:`~ctmar.operators.rebinning.rebin_fan_to_parallel`.

    Returns:
        ``(..., parallel.num_angles, parallel.det_count)``.

    Raises:
        CtmarError: If shape, method or order are not as above, or ``z_mm`` lies outside
            :func:`covered_z_mm`.
    """
    _check(sinogram, helix)
    if order not in ORDERS:
        raise CtmarError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    _require(z_mm, covered_z_mm(helix, parallel, method), method)
    if method == "360LI":
        circular = interpolate_helical(sinogram, helix, z_mm)
        return rebin_fan_to_parallel(circular, helix.fan, parallel, order, interlace=False)
    flat = sinogram.reshape(-1, helix.num_views * helix.fan.det_count)
    rays = _NearestRays(helix, parallel, z_mm, order, flat)
    views = max(1, rebinning.CHUNK_ELEMENTS // (max(len(flat), 1) * parallel.det_count))
    chunks = [slice(first, first + views) for first in range(0, parallel.num_angles, views)]
    out = torch.cat([rays.sample(flat, chunk) for chunk in chunks], 1)
    return out.reshape(*sinogram.shape[:-2], *parallel.shape)


def covered_z_mm(helix: HelicalFan, parallel: ParallelBeam | None, method: str) -> tuple[float, float]:
    """First and last z at which every ray of ``parallel`` was measured before and behind.

    Empty, the first above the last, where the scan is too short. 360LI does not look at ``parallel``.
    """
    if method not in INTERPOLATIONS:
        raise CtmarError(f"method must be one of {', '.join(INTERPOLATIONS)}, got {method!r}")
    step = helix.feed_mm / helix.fan.num_angles
    margin = step * (helix.fan.num_angles - 1 if method == "360LI" else _margin_180(helix.fan, parallel))
    return helix.start_z_mm + margin, helix.start_z_mm + (helix.num_views - 1) * step - margin


def covering_helix(
    fan: FanBeam,
    feed_mm: float,
    slice_mm: float,
    z_mm: tuple[float, float],
    parallel: ParallelBeam,
    method: str = "180LI",
) -> HelicalFan:
    """The part of an endless helix, β = 0 at z = 0, that covers ``z_mm``, first and last.

    The tube's angle at a z is the same whatever part of the helix was asked for.
    """
    endless = HelicalFan(fan, feed_mm, slice_mm, 1)
    margin = -covered_z_mm(endless, parallel, method)[1]
    first = math.floor(endless.view_at(z_mm[0] - margin) + 1e-6)
    last = math.ceil(endless.view_at(z_mm[1] + margin) - 1e-6)
    start = first * feed_mm / fan.num_angles
    return replace(endless, num_views=last - first + 1, start_view=first, start_z_mm=start)


def _margin_180(fan: FanBeam, parallel: ParallelBeam | None) -> float:
    """Views before and behind the wanted one that hold every ray, those of the interpolation included."""
    if parallel is None:
        raise CtmarError("180LI needs the parallel beam that is wanted")
    s = positions_mm(parallel)
    near, far = (seen for _, seen in two_sides(fan, parallel))
    # From both sides rays lie at most half a turn and the fan's angle apart, from one side a turn.
    gamma = np.arcsin(np.clip(np.abs(s[near & far]) / fan.src_radius_mm, 0, 1)).max(initial=0.0)
    rim = abs(fan.det_offset_mm) <= RIM_BINS * fan.det_spacing_mm
    gap = 2 * math.pi if (near != far).any() and not rim else math.pi + 2 * gamma
    bins = 2 * np.abs(np.diff(fan.gamma)).max(initial=0.0)
    return float((gap + bins) / (2 * math.pi) * fan.num_angles) + 2


class _NearestRays:
    """Where the nearest measurements of each parallel ray lie, before ``z_mm`` and behind it.

    Args:
        helix: The rays measured.
        parallel: The rays wanted.
        z_mm: The slice wanted.
        order: Interpolation between views and bins.
        like: A tensor of the device and dtype to work in.
    """

    def __init__(
        self, helix: HelicalFan, parallel: ParallelBeam, z_mm: float, order: str, like: Tensor
    ) -> None:
        self._helix, self._order, self._like = helix, order, like
        s = positions_mm(parallel)
        (near, sees_near), (far, sees_far) = two_sides(helix.fan, parallel)
        gamma = np.arcsin(np.clip(s / helix.fan.src_radius_mm, -1, 1))
        self._near, self._far, self._gamma = (self._on(x) for x in (near, far, gamma))
        self._sees_near, self._sees_far = self._on(sees_near), self._on(sees_far)
        self._theta = self._on(parallel.theta)[:, None]
        self._fan_gamma = self._on(helix.fan.gamma)
        # Source angle of the tube at z, counted from the first view.
        self._start = helix.theta[0]
        self._end = 2 * math.pi * helix.turns
        self._tube = 2 * math.pi * helix.view_at(z_mm) / helix.fan.num_angles

    def _on(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self._like.device)

    def sample(self, flat: Tensor, views: slice) -> Tensor:
        """These views at the wanted z, ``(B, V · D)`` to ``(B, view, bin)``."""
        turn, line = 2 * math.pi, self._theta[views] - self._start
        near = self._last_before(line + self._gamma)
        far = self._last_before(line + math.pi - self._gamma)
        # Of the two sides' last rays the later one lies before z, and the other's next one behind it.
        before_far = (self._sees_far & (far > near)) | ~self._sees_near
        behind_far = (self._sees_far & (far < near)) | ~self._sees_near
        before = torch.where(before_far, far, near)
        behind = torch.where(behind_far, far, near) + turn
        share = ((self._tube - before) / (behind - before)).to(flat.dtype)
        share = share.masked_fill(before < 0, 1.0).masked_fill(behind > self._end, 0.0)
        seen = (self._sees_near | self._sees_far).to(flat.dtype)
        first, second = self._at(flat, before, before_far), self._at(flat, behind, behind_far)
        return seen * ((1 - share) * first + share * second)

    def _last_before(self, angle: Tensor) -> Tensor:
        """The last source angle up to the tube's at z that is ``angle`` and whole turns."""
        turn = 2 * math.pi
        return angle + turn * torch.floor((self._tube - angle) / turn)

    def _at(self, flat: Tensor, angle: Tensor, far: Tensor) -> Tensor:
        """The sinogram on rays at source angles, of the near or the far side; ``(B, view, bin)``."""
        bins, views = self._helix.fan.det_count, self._helix.num_views
        line = torch.where(far, angle + self._gamma, angle - self._gamma)
        place, across = taps(torch.where(far, self._far, self._near), self._order, flat.dtype)
        total = flat.new_zeros((len(flat), *angle.shape))
        for shift, weight in across.items():
            column = (place + shift).clamp(0, bins - 1)
            beta = (line + self._fan_gamma[column]) * (self._helix.fan.num_angles / (2 * math.pi))
            first, along = taps(beta, self._order, flat.dtype)
            for step, share in along.items():
                index = (first + step).clamp(0, views - 1) * bins + column
                total = total + weight * share * flat[:, index]
        return total


def _check(sinogram: Tensor, helix: HelicalFan) -> None:
    if tuple(sinogram.shape[-2:]) != helix.shape or sinogram.ndim < 2:
        views, bins = helix.shape
        raise CtmarError(f"a sinogram of this helix is (..., {views}, {bins}), got {tuple(sinogram.shape)}")


def _require(z_mm: float, covered: tuple[float, float], method: str) -> None:
    low, high = covered
    if low > high + 1e-9:
        raise CtmarError(
            f"the helical scan is too short for {method}: it takes {low - high:.2f} mm more feed"
        )
    if not low - 1e-9 <= z_mm <= high + 1e-9:
        raise CtmarError(f"z_mm must lie in {low:.2f} to {high:.2f} for {method} of this scan, got {z_mm:g}")
