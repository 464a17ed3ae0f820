"""The CPU backend: numba kernels over interleaved lanes, threads of its own, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads. Threads are a plain pool (numba's own threading layers are either not fork-safe or not
thread-safe); the kernels release the GIL.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.lines import Lines, joseph_lines, pixel_lines

LANE_WIDTHS = (1, 4, 8, 16)
TASK_LINES = 16


@lru_cache(maxsize=1)
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """The pool of this process; a forked child has another pid and makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ctmar")


class NativeBackend:
    """Joseph and pixel-driven maps and their exact transposes on CPU tensors, float32 or float64."""

    name = "native"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        self.grid, self.beam = grid, beam
        self._by_row, self._by_column = joseph_lines(grid, beam)
        self._pixels = pixel_lines(grid, beam)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        return self._in_lanes(image, self.beam.shape, self._forward)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        return self._in_lanes(sinogram, self.grid.shape, self._adjoint)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        return self._in_lanes(sinogram, self.grid.shape, self._backproject)

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        return self._in_lanes(image, self.beam.shape, self._backproject_adjoint)

    def _forward(self, image: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.beam.shape, len(lanes)), image.dtype)
        for lines, source in ((self._by_row, image), (self._by_column, image.swapaxes(0, 1))):
            part = np.zeros((len(lines.views), *out.shape[1:]), image.dtype)
            _run("pull", part, _with_margins(source), lines, True, lanes)
            out[lines.views] = part
        return out

    def _adjoint(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        rows, columns = self.grid.shape
        by_row = np.zeros((rows, columns + 2, len(lanes)), sinogram.dtype)
        _run("push", by_row, sinogram[self._by_row.views], self._by_row, False, lanes)
        by_column = np.zeros((columns, rows + 2, len(lanes)), sinogram.dtype)
        _run("push", by_column, sinogram[self._by_column.views], self._by_column, False, lanes)
        return by_row[:, 1:-1] + by_column[:, 1:-1].swapaxes(0, 1)

    def _backproject(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.grid.shape, len(lanes)), sinogram.dtype)
        _run("pull", out, _with_margins(sinogram), self._pixels, False, lanes)
        return out

    def _backproject_adjoint(self, image: NDArray, lanes: tuple) -> NDArray:
        views, bins = self.beam.shape
        out = np.zeros((views, bins + 2, len(lanes)), image.dtype)
        _run("push", out, np.ascontiguousarray(image), self._pixels, True, lanes)
        return out[:, 1:-1]

    def _in_lanes(self, x: Tensor, shape: tuple[int, int], apply: Callable) -> Tensor:
        """Runs ``apply`` on groups of slices interleaved as lanes, padded with zeros to a lane width."""
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            raise CtmarError(
                f"projector native works on float32 or float64 CPU tensors, got {x.dtype} on {x.device};"
                " projector=torch works on any device"
            )
        array = x.detach().numpy()
        out = np.empty((len(array), *shape), array.dtype)
        for start in range(0, len(array), LANE_WIDTHS[-1]):
            group = array[start : start + LANE_WIDTHS[-1]]
            width = next(w for w in LANE_WIDTHS if w >= len(group))
            interleaved = np.zeros((*group.shape[1:], width), array.dtype)
            interleaved[..., : len(group)] = np.moveaxis(group, 0, -1)
            result = apply(interleaved, (0,) * width)
            out[start : start + len(group)] = np.moveaxis(result[..., : len(group)], -1, 0)
        return torch.from_numpy(out)


def _with_margins(array: NDArray) -> NDArray:
    """A zero element before and after each line, so that interpolation never leaves the array."""
    return np.pad(array, ((0, 0), (1, 1), (0, 0)))


def _run(kernel: str, out: NDArray, source: NDArray, lines: Lines, by_view: bool, lanes: tuple) -> None:
    """Runs a kernel over all outer lines of ``out``, in tasks over this process's threads."""
    from ctmar.operators import lanes as kernels  # numba takes a second to import

    apply = getattr(kernels, kernel)
    table = (lines.offset, lines.per_line, lines.per_element, lines.weight)
    source = np.ascontiguousarray(source)

    def task(first: int) -> None:
        last = min(first + TASK_LINES, len(out))
        apply(out, source, *table, by_view, first, last, TASK_LINES, lanes)

    starts = range(0, len(out), TASK_LINES)
    threads = torch.get_num_threads()
    if threads == 1:
        for first in starts:
            task(first)
    else:
        list(_pool(os.getpid(), threads).map(task, starts))
