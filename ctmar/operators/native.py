"""The CPU backend: numba kernels over interleaved lanes, threads of its own, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads. Threads are a plain pool (numba's own threading layers are either not fork-safe or not
thread-safe); the kernels release the GIL.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.lines import Lines, joseph_lines, pixel_lines, view_weights
from ctmar.operators.symmetry import Symmetry

LANE_WIDTHS = (1, 4, 8, 16)
TASK_LINES = {"pull": 8, "push": 16}
"""Outer lines of a task: few enough for the threads to end together, but a block for ``push``."""
BLOCK_LINES = 16
"""Lines worked on while they stay in cache."""
FOLD_BELOW = 8
"""Groups of fewer slices go through as their symmetric copies."""


@lru_cache(maxsize=1)
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """The pool of this process; a forked child has another pid and makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ctmar")


class NativeBackend:
    """Joseph and pixel-driven maps and their exact transposes on CPU tensors, float32 or float64.

    Slices go through the kernels in groups, one a lane; a group too small for that goes through as
    its eight symmetric copies where the geometry has them.
    """

    name = "native"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        self._maps = _LaneMaps(grid, beam, view_weights(beam))
        self._symmetry = Symmetry(grid, beam) if Symmetry.applies(grid, beam) else None
        if self._symmetry is not None:
            base = self._symmetry.beam
            weights = np.full(base.num_angles, np.pi / beam.num_angles)
            self._base = _LaneMaps(grid, base, weights)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        return self._from_image(image, "forward")

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        return self._from_sinogram(sinogram, "adjoint")

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        return self._from_sinogram(sinogram, "backproject")

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        return self._from_image(image, "backproject_adjoint")

    def _from_image(self, image: Tensor, name: str) -> Tensor:
        parts = [image.new_empty((0, *self._maps.beam.shape))]
        for group, folds in self._groups(image):
            if folds is None:
                parts.append(self._maps.apply(name, list(group.numpy())).contiguous())
            else:
                parts.append(folds.collect(self._base.apply(name, folds.planes(group.numpy()))))
        return torch.cat(parts)

    def _from_sinogram(self, sinogram: Tensor, name: str) -> Tensor:
        parts = [sinogram.new_empty((0, *self._maps.grid.shape))]
        for group, folds in self._groups(sinogram):
            if folds is None:
                parts.append(self._maps.apply(name, list(group.numpy())).contiguous())
            else:
                parts.append(folds.merge(self._base.apply(name, list(folds.spread(group).numpy()))))
        return torch.cat(parts)

    def _groups(self, x: Tensor) -> Iterator[tuple[Tensor, Symmetry | None]]:
        """Slices that go through together, and how they fold, if they do."""
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            raise CtmarError(
                f"projector native works on float32 or float64 CPU tensors, got {x.dtype} on {x.device};"
                " projector=auto takes any"
            )
        widest = LANE_WIDTHS[-1]
        for start in range(0, len(x), widest):
            group = x.detach()[start : start + widest]
            yield group, self._symmetry if len(group) < FOLD_BELOW else None


class _LaneMaps:
    """The four maps of one geometry on interleaved slices.

    Args:
        grid: Pixels.
        beam: Rays.
        weights: Each view's weight in the pixel-driven pair, rad.
    """

    def __init__(self, grid: ImageGrid, beam: ParallelBeam, weights: NDArray[np.float64]) -> None:
        self.grid, self.beam = grid, beam
        self._by_row, self._by_column = joseph_lines(grid, beam)
        self._pixels = pixel_lines(grid, beam, weights)

    def apply(self, name: str, planes: list[NDArray]) -> Tensor:
        """The named map of each plane, in as many passes as the widest lanes ask for.

        Returns:
            ``(len(planes), ·, ·)``, strided as the lanes lie.
        """
        widest = LANE_WIDTHS[-1]
        if len(planes) > widest:
            groups = [planes[start : start + widest] for start in range(0, len(planes), widest)]
            return torch.cat([self.apply(name, group) for group in groups])
        lanes = (0,) * next(width for width in LANE_WIDTHS if width >= len(planes))
        source = _interleaved(planes, len(lanes), margin=name in ("forward", "backproject"))
        result = getattr(self, f"_{name}")(source, lanes)
        return torch.from_numpy(np.moveaxis(result, -1, 0)[: len(planes)])

    def _forward(self, image: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.beam.shape, len(lanes)), image.dtype)
        if len(self._by_row.views) == len(out):
            _run("pull", out, image, self._by_row, True, lanes)
            return out
        turned = _interleaved(
            list(np.moveaxis(image[:, 1:-1].swapaxes(0, 1), -1, 0)), len(lanes), margin=True
        )
        for lines, source in ((self._by_row, image), (self._by_column, turned)):
            part = np.zeros((len(lines.views), *out.shape[1:]), image.dtype)
            _run("pull", part, source, lines, True, lanes)
            out[lines.views] = part
        return out

    def _adjoint(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        rows, columns = self.grid.shape
        parts = []
        for lines, shape in ((self._by_row, (rows, columns)), (self._by_column, (columns, rows))):
            if len(lines.views):
                part = np.zeros((shape[0], shape[1] + 2, len(lanes)), sinogram.dtype)
                whole = len(lines.views) == len(sinogram)
                _run("push", part, sinogram if whole else sinogram[lines.views], lines, False, lanes)
                parts.append(part[:, 1:-1] if lines is self._by_row else part[:, 1:-1].swapaxes(0, 1))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def _backproject(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.grid.shape, len(lanes)), sinogram.dtype)
        _run("pull", out, sinogram, self._pixels, False, lanes)
        return out

    def _backproject_adjoint(self, image: NDArray, lanes: tuple) -> NDArray:
        views, bins = self.beam.shape
        out = np.zeros((views, bins + 2, len(lanes)), image.dtype)
        _run("push", out, image, self._pixels, True, lanes)
        return out[:, 1:-1]


def _interleaved(planes: list[NDArray], lanes: int, margin: bool) -> NDArray:
    """Planes as lanes ``(line, element, lane)``, with zeros in the lanes beyond them.

    With a margin a zero element stands before and after each line, so that interpolation never
    leaves the array.
    """
    lines, elements = planes[0].shape
    edge = int(margin)
    out = np.empty((lines, elements + 2 * edge, lanes), planes[0].dtype)
    if margin:
        out[:, 0] = out[:, -1] = 0
    out[:, edge : edge + elements, len(planes) :] = 0
    # A block of lines at a time stays in cache while each plane adds its lane.
    for start in range(0, lines, BLOCK_LINES):
        block = slice(start, start + BLOCK_LINES)
        for n, plane in enumerate(planes):
            out[block, edge : edge + elements, n] = plane[block]
    return out


def _run(kernel: str, out: NDArray, source: NDArray, lines: Lines, by_view: bool, lanes: tuple) -> None:
    """Runs a kernel over all outer lines of ``out``, in tasks over this process's threads."""
    from ctmar.operators import lanes as kernels  # numba takes a second to import

    apply = getattr(kernels, kernel)
    table = (lines.offset, lines.per_line, lines.per_element, lines.weight)
    task_lines = TASK_LINES[kernel]

    def task(first: int) -> None:
        last = min(first + task_lines, len(out))
        apply(out, source, *table, by_view, first, last, BLOCK_LINES, lanes)

    starts = range(0, len(out), task_lines)
    threads = torch.get_num_threads()
    if threads == 1:
        for first in starts:
            task(first)
    else:
        list(_pool(os.getpid(), threads).map(task, starts))
