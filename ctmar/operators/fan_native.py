"""Fan beams on a CPU: compiled kernels over interleaved lanes, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.fan_rays import fan_rays, turn_weights
from ctmar.operators.fan_symmetry import FanSymmetry
from ctmar.operators.native import FOLD_BELOW, LANE_WIDTHS, _pool

TASK_LINES = 16
TABLE_VIEWS = 64
"""Views whose rays are in a table at a time, so that tables stay small and in cache."""


class FanNative:
    """Joseph and distance-weighted pixel-driven maps of a fan beam and their exact transposes.

    Works on CPU tensors, float32 or float64. Slices go through the kernels in groups, one a lane; a
    group too small for that goes through as its eight symmetric copies where the geometry has them.

    Args:
        grid: Pixels.
        fan: Rays.

    Raises:
        CtmarError: If the source would pass through the image.
    """

    name = "native"

    def __init__(self, grid: ImageGrid, fan: FanBeam) -> None:
        self.grid, self.fan = grid, fan
        self._maps = _LaneMaps(grid, fan, turn_weights(fan))
        self._symmetry = FanSymmetry(grid, fan) if FanSymmetry.applies(grid, fan) else None
        if self._symmetry is not None:
            base = self._symmetry.fan
            self._base = _LaneMaps(grid, base, np.full(base.num_angles, 2 * np.pi / fan.num_angles))

    def forward(self, image: Tensor) -> Tensor:
        """Line integrals: ``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        return self._from_image(image, "forward")

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        return self._from_sinogram(sinogram, "adjoint")

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral of ``(R / distance)² q`` over β, ``(B, A, D)`` to ``(B, H, W)``.

        The distance is that of the pixel from the source: along the central ray for a flat detector,
        along the pixel's own ray for an arc.
        """
        return self._from_sinogram(sinogram, "backproject")

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        return self._from_image(image, "backproject_adjoint")

    def _from_image(self, image: Tensor, name: str) -> Tensor:
        def one(group: Tensor, folds: FanSymmetry | None) -> Tensor:
            if folds is None:
                return self._maps.apply(name, group)
            return folds.collect(self._base.apply(name, folds.copies(group)))

        return torch.cat([one(group, folds) for group, folds in self._groups(image)])

    def _from_sinogram(self, sinogram: Tensor, name: str) -> Tensor:
        def one(group: Tensor, folds: FanSymmetry | None) -> Tensor:
            if folds is None:
                return self._maps.apply(name, group)
            return folds.merge(self._base.apply(name, folds.spread(group)))

        return torch.cat([one(group, folds) for group, folds in self._groups(sinogram)])

    def _groups(self, x: Tensor) -> Iterator[tuple[Tensor, FanSymmetry | None]]:
        """Slices that go through together, and how they fold, if they do."""
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            raise CtmarError(
                f"projector native works on float32 or float64 CPU tensors, got {x.dtype} on {x.device};"
                " projector=torch works on any device"
            )
        for start in range(0, max(len(x), 1), LANE_WIDTHS[-1]):
            group = x.detach()[start : start + LANE_WIDTHS[-1]]
            yield group, self._symmetry if 0 < len(group) < FOLD_BELOW else None


class _LaneMaps:
    """The four maps of one geometry on interleaved slices.

    Args:
        grid: Pixels.
        fan: Rays.
        weights: Each view's share of the turn in rad.
    """

    def __init__(self, grid: ImageGrid, fan: FanBeam, weights: NDArray[np.float64]) -> None:
        self.grid, self.fan, self._weights = grid, fan, weights
        self._rays = fan_rays(grid, fan)

    def apply(self, name: str, x: Tensor) -> Tensor:
        """The named map of ``(B, ·, ·)``, in as many passes as the widest lanes ask for."""
        shape = self.fan.shape if name in ("forward", "backproject_adjoint") else self.grid.shape
        apply, array = getattr(self, f"_{name}"), x.numpy()
        out = np.empty((len(array), *shape), array.dtype)
        for start in range(0, len(array), LANE_WIDTHS[-1]):
            group = array[start : start + LANE_WIDTHS[-1]]
            width = next(w for w in LANE_WIDTHS if w >= len(group))
            lanes = np.zeros((*group.shape[1:], width), array.dtype)
            lanes[..., : len(group)] = np.moveaxis(group, 0, -1)
            result = apply(lanes, (0,) * width)
            out[start : start + len(group)] = np.moveaxis(result[..., : len(group)], -1, 0)
        return torch.from_numpy(out)

    def _forward(self, image: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.fan.shape, len(lanes)), image.dtype)
        sources = {True: _with_margins(image), False: _with_margins(image.swapaxes(0, 1))}

        def views(first: int, last: int) -> None:
            for walk_rows, source in sources.items():
                _kernel("project")(out, source, *self._table(walk_rows, first, last), TASK_LINES, lanes)

        _over(len(out), views)
        return out

    def _adjoint(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        (rows, columns), parts = self.grid.shape, []
        for walk_rows, shape in ((True, (rows, columns + 2)), (False, (columns, rows + 2))):
            out = np.zeros((*shape, len(lanes)), sinogram.dtype)
            for view in range(0, len(sinogram), TABLE_VIEWS):
                table = self._table(walk_rows, view, min(view + TABLE_VIEWS, len(sinogram)))

                def rows_of(first: int, last: int, out: NDArray = out, table: list = table) -> None:
                    _kernel("spread")(out, sinogram, *table, first, last, lanes)

                _over(len(out), rows_of)
            parts.append(out[:, 1:-1])
        return parts[0] + parts[1].swapaxes(0, 1)

    def _table(self, walk_rows: bool, first: int, last: int) -> list[NDArray]:
        """The rays of views [first, last) that walk rows, or columns: places, starts, steps and lengths."""
        ray, most = self._rays, (last - first) * self.fan.det_count
        table = [np.empty(most, kind) for kind in (np.int64, np.int64, np.int64, np.float64)]
        geometry = ray.views, ray.bins, ray.radius, ray.spacing, *self.grid.shape
        count = _kernel("trace")(walk_rows, *geometry, first, last, *table)
        return [column[:count] for column in table]

    def _backproject(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.grid.shape, len(lanes)), sinogram.dtype)
        source, shadows = _with_margins(sinogram), self._shadows()
        _over(
            len(out),
            lambda first, last: _kernel("backproject")(out, source, *shadows, first, last, TASK_LINES, lanes),
        )
        return out

    def _backproject_adjoint(self, image: NDArray, lanes: tuple) -> NDArray:
        views, bins = self.fan.shape
        out, shadows = np.zeros((views, bins + 2, len(lanes)), image.dtype), self._shadows()
        _over(
            len(out),
            lambda first, last: _kernel("backproject_adjoint")(out, image, *shadows, first, last, lanes),
        )
        return out[:, 1:-1]

    def _shadows(self) -> tuple[Any, ...]:
        """What the pixel-driven kernels take of the geometry, in their order."""
        ray = self._rays
        return ray.views, self._weights, ray.radius, ray.density, ray.centre, ray.arc


def _kernel(name: str) -> Any:
    from ctmar.operators import fan_kernels  # numba takes a second to import

    return getattr(fan_kernels, name)


def _with_margins(array: NDArray) -> NDArray:
    """A zero element before and after each line, so that interpolation never leaves the array."""
    return np.ascontiguousarray(np.pad(array, ((0, 0), (1, 1), (0, 0))))


def _over(count: int, work: Callable[[int, int], None]) -> None:
    """Runs ``work(first, last)`` over ``count`` lines, in tasks over this process's threads."""

    def task(first: int) -> None:
        work(first, min(first + TASK_LINES, count))

    starts, threads = range(0, count, TASK_LINES), torch.get_num_threads()
    if threads == 1:
        for first in starts:
            task(first)
    else:
        list(_pool(os.getpid(), threads).map(task, starts))
