"""Fan-beam sinograms brought to parallel beams.

The fan ray (β, γ) is the parallel ray ``θ = β - γ``, ``s = R sin γ``, and its conjugate
``(β + π - 2γ, -γ)`` is the same line seen from the other side. Rebinning takes two steps of
one-dimensional interpolation (Dreike & Boyd 1976; Kak & Slaney 1988, §3.4.3): along the views, which
makes each fan's rays parallel, then along the bins, which spaces them evenly.

A detector set off by a quarter of a bin (:attr:`ctmar.geometry.FanBeam.interlaced`) sees the two sides'
parallel rays halfway between each other. Together they are samples at half the distance (Peters & Lewitt,
J. Comput. Assist. Tomogr. 1:429, 1977), and the second step interpolates in these.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ParallelBeam

ORDERS = ("linear", "cubic")
CHUNK_ELEMENTS = 1 << 19
"""Samples rebinned at a time, all slices together."""


def rebin_fan_to_parallel(
    sinogram: Tensor, fan: FanBeam, parallel: ParallelBeam, order: str = "cubic", interlace: bool = True
) -> Tensor:
    """The parallel sinogram of the same object: differentiable, linear in the sinogram.

    A ray that the fan measures from both sides is their average; one that misses the detector from
    both is zero. Where the two sides interlace, the fan turns all the way round, and the wanted bins are
    finer than 3/4 of the fan's, both sides' rays are interpolated in one row instead, which keeps what
    lies between one side's own bins; coarser bins would take that for something else, and averaging
    the sides cancels it.

    Args:
        sinogram: ``(..., A, D)`` of ``fan``; line integrals.
        fan: The rays measured.
        parallel: The rays wanted.
        order: ``linear`` or ``cubic`` (Catmull-Rom; exact for parabolas) interpolation.
        interlace: False averages the two sides always: where they do not measure the same, as in a helical
            scan, a row of both would zigzag.

    Returns:
        ``(..., parallel.num_angles, parallel.det_count)``.

    Raises:
        CtmarError: If the shape or the order is not as above, if unevenly spaced views of the fan are
            not in ascending order within one turn, or if they leave out wanted rays.
    """
    if order not in ORDERS:
        raise CtmarError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    if tuple(sinogram.shape[-2:]) != fan.shape or sinogram.ndim < 2:
        views, bins = fan.shape
        raise CtmarError(
            f"a sinogram of this geometry is (..., {views}, {bins}), got {tuple(sinogram.shape)}"
        )
    flat = sinogram.reshape(-1, *fan.shape)
    if fan.mirrored:
        flat, fan = flat.flip(-1), replace(fan, mirrored=False)
    axis = _ViewAxis(fan)
    padded = axis.pad(flat)
    sides = [_Side(fan, axis, parallel, order, far, flat) for far in (False, True)]
    row = _Interlaced(fan, parallel, order, flat) if interlace and interlaces(fan, parallel) else None
    views = max(1, CHUNK_ELEMENTS // (max(len(flat), 1) * fan.det_count))
    parts = []
    for first in range(0, parallel.num_angles, views):
        chunk = slice(first, first + views)
        if row is not None:
            parts.append(row.sample(*(side.fans(padded, chunk) for side in sides)))
            continue
        total = sides[0].sample(padded, chunk) + sides[1].sample(padded, chunk)
        seen = sides[0].seen(chunk) + sides[1].seen(chunk)
        if not axis.closed and (seen < sides[0].reaches.maximum(sides[1].reaches)).any():
            needed, got = (math.degrees(x) for x in (math.pi + np.ptp(fan.gamma), np.ptp(fan.theta)))
            raise CtmarError(
                f"rebinning needs views over a half turn and the fan's angle ({needed:.1f}°), got {got:.1f}°"
            )
        parts.append(total / seen.clamp(min=1))
    return torch.cat(parts, 1).reshape(*sinogram.shape[:-2], *parallel.shape)


def interlaces(fan: FanBeam, parallel: ParallelBeam) -> bool:
    """Whether a full turn of ``fan`` gives bins as fine as ``parallel``'s by its quarter-bin offset."""
    return fan.interlaced and fan.full_turn and parallel.det_spacing_mm < 0.75 * fan.iso_spacing_mm


def positions_mm(parallel: ParallelBeam) -> np.ndarray:
    """The bins' s in mm."""
    s = (np.arange(parallel.det_count) - (parallel.det_count - 1) / 2) * parallel.det_spacing_mm
    return s + parallel.det_offset_mm


def two_sides(fan: FanBeam, parallel: ParallelBeam) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where each bin's ray meets the detector, in bins, and whether it does: seen as it is, and from afar.

    A ray beyond the centre of a side's outermost bin, by up to half of one, counts as seen from that
    side where the other sees less of it.
    """
    s = positions_mm(parallel)
    near, far = _detector_places(fan, s), _detector_places(fan, -s)
    beyond = [np.maximum(-bins, bins - (fan.det_count - 1)) for bins in (near, far)]
    beyond = [np.where(np.abs(s) < fan.src_radius_mm, b, np.inf) for b in beyond]
    return [
        (bins, (own < 1e-9) | ((own < 0.5) & (own <= other)))
        for bins, own, other in ((near, *beyond), (far, *beyond[::-1]))
    ]


def _detector_places(fan: FanBeam, s: np.ndarray) -> np.ndarray:
    """Place on the detector, in bins, of the rays at ``s`` mm from the axis."""
    gamma = np.arcsin(np.clip(s / fan.src_radius_mm, -1, 1))
    along = fan.sdd_mm * (np.tan(gamma) if fan.detector == "flat" else gamma) - fan.det_offset_mm
    return np.asarray(along / fan.det_spacing_mm + (fan.det_count - 1) / 2)


class _Side:
    """The parallel rays as seen from one side: θ itself, or θ + π with s mirrored.

    Args:
        fan: The rays measured.
        axis: Its views.
        parallel: The rays wanted.
        order: Interpolation.
        far: Whether this is the side of θ + π.
        like: A tensor of the device and dtype to work in.

    Attributes:
        reaches: 1 where a bin's ray meets the detector, ``(bin,)``.
    """

    def __init__(
        self, fan: FanBeam, axis: "_ViewAxis", parallel: ParallelBeam, order: str, far: bool, like: Tensor
    ) -> None:
        self._axis, self._order, self._like = axis, order, like
        s = positions_mm(parallel) * (-1 if far else 1)
        bins, on_detector = two_sides(fan, parallel)[far]
        gamma = np.arcsin(np.clip(s / fan.src_radius_mm, -1, 1))
        self._theta = self._on(parallel.theta + (np.pi if far else 0.0))[:, None]
        self._gamma, self._fan_gamma = self._on(gamma), self._on(fan.gamma)
        self.reaches = self._on(on_detector).to(like.dtype)
        index, weights = taps(self._on(bins), order, like.dtype)
        self._bins = [
            ((index + shift).clamp(0, fan.det_count - 1), weight * self.reaches)
            for shift, weight in weights.items()
        ]

    def _on(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, device=self._like.device)

    def seen(self, views: slice) -> Tensor:
        """1 where the fan measures the ray from this side, else 0; broadcasts with ``(view, bin)``."""
        if self._axis.closed:
            return self.reaches
        return self._axis.holds(self._theta[views] + self._gamma).to(self._like.dtype) * self.reaches

    def fans(self, padded: Tensor, views: slice) -> Tensor:
        """The fan's own bins of these parallel views, ``(B, A + 3, D)`` to ``(B, view, D)``."""
        index, weights = taps(
            self._axis.coordinate(self._theta[views] + self._fan_gamma), self._order, self._like.dtype
        )
        index = index.expand(len(padded), -1, -1)
        return _sum(weight * _narrow(padded, shift).gather(1, index) for shift, weight in weights.items())

    def sample(self, padded: Tensor, views: slice) -> Tensor:
        """These parallel views of a padded sinogram, ``(B, A + 3, D)`` to ``(B, view, bin)``."""
        fans = self.fans(padded, views)
        out = _sum(weight * fans.index_select(2, place) for place, weight in self._bins)
        return out if self._axis.closed else out * self.seen(views)


class _Interlaced:
    """Both sides' bins in one row, half a bin apart, and the parallel rays among them.

    Args:
        fan: The rays measured, set off by a quarter of a bin (or that and any number of halves).
        parallel: The rays wanted.
        order: Interpolation.
        like: A tensor of the device and dtype to work in.
    """

    def __init__(self, fan: FanBeam, parallel: ParallelBeam, order: str, like: Tensor) -> None:
        steps = round(4 * fan.det_offset_mm / fan.det_spacing_mm)
        # The near side's bins lie that many half bins behind the far side's.
        self._near, self._far = max(steps, 0), max(-steps, 0)
        self._length = 2 * fan.det_count - 1 + abs(steps)
        (bins, near), (_, far) = two_sides(fan, parallel)
        seen = torch.as_tensor(near | far, device=like.device).to(like.dtype)
        index, weights = taps(torch.as_tensor(2 * bins + self._near, device=like.device), order, like.dtype)
        self._bins = [
            ((index + shift).clamp(0, self._length - 1), weight * seen) for shift, weight in weights.items()
        ]

    def sample(self, near: Tensor, far: Tensor) -> Tensor:
        """``(B, view, D)`` of either side to ``(B, view, bin)``."""
        row = near.new_zeros((*near.shape[:-1], self._length))
        places = torch.arange(near.shape[-1], device=near.device) * 2
        row = row.index_copy(2, places + self._near, near).index_copy(2, places + self._far, far.flip(-1))
        # Where the detector is off by more than a quarter, the ends hold every second bin alone.
        alone = self._near + self._far
        holes = [*range(1, alone, 2), *range(self._length - alone + 1, self._length - 1, 2)]
        if holes:
            at = torch.tensor(holes, device=row.device)
            row = row.index_copy(2, at, (row.index_select(2, at - 1) + row.index_select(2, at + 1)) / 2)
        return _sum(weight * row.index_select(2, place) for place, weight in self._bins)


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _narrow(padded: Tensor, shift: int) -> Tensor:
    """The views of a padded sinogram, ``shift`` views on."""
    return padded[:, 1 + shift : padded.shape[1] - 2 + shift]


class _ViewAxis:
    """Where a source angle lies among a fan's views."""

    def __init__(self, fan: FanBeam) -> None:
        self.closed, self._count, turn = fan.full_turn, fan.num_angles, 2 * math.pi
        self._even = fan.even
        if not self._even and (np.any(np.diff(fan.theta) <= 0) or np.ptp(fan.theta) >= turn):
            raise CtmarError("rebinning needs a fan's views in ascending order within one turn")
        self._start = float(fan.theta[0])
        self._grid = np.append(fan.theta, self._start + turn) if self.closed else fan.theta

    def pad(self, sinogram: Tensor) -> Tensor:
        """A view before the first and two after the last: those that follow around, or the end ones again."""
        first, last = sinogram[:, :1], sinogram[:, -1:]
        if not self.closed:
            return torch.cat([first, sinogram, last, last], 1)
        second = sinogram[:, 1 % self._count : 1 % self._count + 1]
        return torch.cat([last, sinogram, first, second], 1)

    def coordinate(self, beta: Tensor) -> Tensor:
        """The place of each angle among the views, in [0, A); the ends' where there is no view."""
        if self._even:
            at = (beta - self._start) * (self._count / (2 * math.pi))
            # Rounding may give A itself.
            return (at - self._count * torch.floor(at / self._count)).clamp(0, math.nextafter(self._count, 0))
        # The turn begins in the middle of what the views leave out, so that each end is its own side's.
        begin = self._start - (2 * np.pi - np.ptp(self._grid)) / 2
        angle = np.mod(beta.cpu().numpy() - begin, 2 * np.pi) + begin
        places = np.interp(angle, self._grid, np.arange(len(self._grid), dtype=np.float64))
        return torch.from_numpy(np.minimum(places, math.nextafter(self._count, 0))).to(beta.device)

    def holds(self, beta: Tensor) -> Tensor:
        """Whether each angle lies between the first view and the last."""
        after = torch.remainder(beta - self._start + 1e-9, 2 * math.pi)
        return after <= self._grid[-1] - self._start + 2e-9


def taps(at: Tensor, order: str, dtype: torch.dtype) -> tuple[Tensor, dict[int, Tensor]]:
    """The element before each float64 place, and weights of the elements around it by their distance."""
    place = at.floor()
    f = (at - place).to(dtype)
    if order == "linear":
        weights = {0: 1 - f, 1: f}
    else:
        weights = {
            -1: f * (-0.5 + f * (1 - 0.5 * f)),
            0: 1 + f * f * (-2.5 + 1.5 * f),
            1: f * (0.5 + f * (2 - 1.5 * f)),
            2: f * f * (-0.5 + 0.5 * f),
        }
    return place.to(torch.int64), weights
