"""Fan beams on any device: the same four maps in plain torch operations, a chunk of rays at a time."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.fan.rays import fan_rays, turn_weights

CHUNK_ELEMENTS = 1 << 21
"""Samples taken at a time, all slices together."""


class FanTorch:
    """Joseph and distance-weighted pixel-driven maps of a fan beam and their transposes.

    Slower than :class:`~ctmar.operators.fan.native.FanNative` on a CPU; never holds all views' samples.

    Args:
        grid: Pixels.
        fan: Rays.

    Raises:
        CtmarError: If the source would pass through the image.
    """

    name = "torch"

    def __init__(self, grid: ImageGrid, fan: FanBeam) -> None:
        self.grid, self.fan = grid, fan
        self._rays = fan_rays(grid, fan)
        self._groups = self._by_walk()

    def forward(self, image: Tensor) -> Tensor:
        """Line integrals: ``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        views, bins = self.fan.shape
        out = image.new_zeros((len(image), views * bins))
        for group, source in zip(self._groups, (image, image.mT), strict=True):
            padded = torch.nn.functional.pad(source, (1, 1))
            for rays, index, left, right in _crossings(group, padded):
                at = index.expand(len(image), -1, -1)
                out[:, rays] = (left * padded.gather(2, at) + right * padded.gather(2, at + 1)).sum(1)
        return out.unflatten(1, (views, bins))

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        rows, columns = self.grid.shape
        by_row = sinogram.new_zeros((len(sinogram), rows, columns + 2))
        by_column = sinogram.new_zeros((len(sinogram), columns, rows + 2))
        flat = sinogram.flatten(1)
        for group, out in zip(self._groups, (by_row, by_column), strict=True):
            for rays, index, left, right in _crossings(group, out):
                at, value = index.expand(len(out), -1, -1), flat[:, None, rays]
                out.scatter_add_(2, at, left * value).scatter_add_(2, at + 1, right * value)
        return by_row[..., 1:-1] + by_column[..., 1:-1].mT

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral of ``(R / distance)² q`` over β, ``(B, A, D)`` to ``(B, H, W)``.

        The distance is that of the pixel from the source: along the central ray for a flat detector,
        along the pixel's own ray for an arc.
        """
        rows, columns = self.grid.shape
        out = sinogram.new_zeros((len(sinogram), rows * columns))
        padded = torch.nn.functional.pad(sinogram, (1, 1))
        for views, index, left, right in self._shadows(padded):
            at, line = index.expand(len(out), -1, -1), padded[:, views]
            out += (left * line.gather(2, at) + right * line.gather(2, at + 1)).sum(1)
        return out.unflatten(1, (rows, columns))

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        views, bins = self.fan.shape
        out = image.new_zeros((len(image), views, bins + 2))
        pixels = image.flatten(1)[:, None]
        for chunk, index, left, right in self._shadows(out):
            at, line = index.expand(len(out), -1, -1), out[:, chunk]
            line.scatter_add_(2, at, left * pixels).scatter_add_(2, at + 1, right * pixels)
        return out[..., 1:-1].contiguous()

    def _by_walk(self) -> list[tuple[Tensor, Tensor]]:
        """Rays that walk rows, then those that walk columns: places in a sinogram, and their lines.

        Lines are ``(3, ray)``: crossing with line 0, step a line, length a line in mm (as in
        ``fan_kernels._ray``).
        """
        ray, (rows, columns) = self._rays, self.grid.shape
        views, bins = torch.from_numpy(ray.views)[..., None], torch.from_numpy(ray.bins)[:, None]
        c = (views[0] * bins[0] + views[1] * bins[1]).flatten()
        s = (views[1] * bins[0] - views[0] * bins[1]).flatten()
        t = (ray.radius * bins[1]).expand(self.fan.shape).flatten()
        row, column, by_row = (rows - 1) / 2, (columns - 1) / 2, c.abs() >= s.abs()
        walks = (
            torch.stack([(t - row * s) / c + column, s / c, ray.spacing / c.abs()]),
            torch.stack([row - (t + column * c) / s, c / s, ray.spacing / s.abs()]),
        )
        groups = []
        for walk, line in zip((by_row, ~by_row), walks, strict=True):
            places = walk.nonzero().flatten()
            groups.append((places, line[:, places]))
        return groups

    def _shadows(self, padded: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Views with each pixel's place in their padded bins and two weights, ``(view, pixel)``."""
        ray, (rows, columns), size = self._rays, self.grid.shape, padded.shape[-1] - 2
        options: dict[str, Any] = {"dtype": torch.float64, "device": padded.device}
        x = (torch.arange(columns, **options) - (columns - 1) / 2).expand(rows, -1).reshape(1, -1)
        y = ((rows - 1) / 2 - torch.arange(rows, **options)[:, None]).expand(-1, columns).reshape(1, -1)
        cos, sin = torch.from_numpy(ray.views).to(padded.device)[..., None]
        share = torch.from_numpy(turn_weights(self.fan)).to(padded.device)[:, None]
        step = max(1, CHUNK_ELEMENTS // (rows * columns * max(len(padded), 1)))
        for first in range(0, self.fan.num_angles, step):
            v = slice(first, first + step)
            depth, across = ray.radius + y * cos[v] - x * sin[v], x * cos[v] + y * sin[v]
            if ray.arc:
                at, squared = torch.atan(across / depth), depth**2 + across**2
            else:
                at, squared = across / depth, depth**2
            weight = share[v] * ray.radius**2 / squared
            yield v, *_interpolation(at * ray.density + ray.centre, weight, size, padded.dtype)


def _crossings(
    group: tuple[Tensor, Tensor], padded: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Rays with their places in the lines of ``padded`` and two weights, ``(line, ray)``.

    ``padded`` has one zero element at both ends of its lines.
    """
    places, table = (part.to(padded.device) for part in group)
    line = torch.arange(padded.shape[1], dtype=torch.float64, device=padded.device)[:, None]
    step = max(1, CHUNK_ELEMENTS // (padded.shape[1] * max(len(padded), 1)))
    for first in range(0, len(places), step):
        offset, per_line, length = table[:, None, first : first + step]
        at = offset + per_line * line
        yield places[first : first + step], *_interpolation(at, length, padded.shape[-1] - 2, padded.dtype)


def _interpolation(
    at: Tensor, weight: Tensor, size: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Index into a line with one zero element before and after its ``size`` ones, and two weights."""
    inside = (at > -1) & (at < size)
    place = torch.where(inside, at + 1, 0.0)
    # Just below the last element's far end, at + 1 may round up to it.
    index = place.to(torch.int64).clamp(max=size)
    right = torch.where(inside, (place - index) * weight, 0.0)
    left = torch.where(inside, weight - right, 0.0)
    return index, left.to(dtype), right.to(dtype)
