"""What the compiled backends share: slices as lanes, folding onto symmetries, threads of their own.

Threads are a plain pool (numba's own threading layers are either not fork-safe or not
thread-safe); the kernels release the GIL.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.operators.symmetry import Symmetry

LANE_WIDTHS = (1, 4, 8, 16)
BLOCK_LINES = 16
"""Lines worked on while they stay in cache."""
FOLD_BELOW = 8
"""Groups of fewer slices go through as their symmetric copies."""


@lru_cache(maxsize=1)
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """The pool of this process; a forked child has another pid and makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="ctmar")


def over_lines(count: int, task_lines: int, work: Callable[[int, int], None]) -> None:
    """Runs ``work(first, last)`` over ``count`` lines, in tasks over this process's threads."""

    def task(first: int) -> None:
        work(first, min(first + task_lines, count))

    starts, threads = range(0, count, task_lines), torch.get_num_threads()
    if threads == 1:
        for first in starts:
            task(first)
    else:
        list(_pool(os.getpid(), threads).map(task, starts))


def interleaved(planes: list[NDArray], lanes: int, margin: bool) -> NDArray:
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


class LaneMaps:
    """The four maps of one geometry on interleaved slices: ``(line, element, lane)`` in and out.

    A subclass has ``_forward``, ``_adjoint``, ``_backproject`` and ``_backproject_adjoint``; the first
    and third are given a zero element before and after each line.
    """

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
        source = interleaved(planes, len(lanes), margin=name in ("forward", "backproject"))
        result = getattr(self, f"_{name}")(source, lanes)
        return torch.from_numpy(np.moveaxis(result, -1, 0)[: len(planes)])


class LaneBackend:
    """The four maps on CPU tensors, float32 or float64.

    Slices go through the kernels in groups, one a lane; a group too small for that goes through as
    its eight symmetric copies where the geometry has them.

    Args:
        maps: The maps of the whole geometry.
        image_shape: Rows and columns.
        sinogram_shape: Views and bins.
        symmetry: How the geometry folds, if it does.
        base: The maps of the base rays of ``symmetry``.
    """

    name = "native"

    def __init__(
        self,
        maps: LaneMaps,
        image_shape: tuple[int, int],
        sinogram_shape: tuple[int, int],
        symmetry: Symmetry | None,
        base: LaneMaps | None,
    ) -> None:
        self._maps, self._base, self._symmetry = maps, base, symmetry
        self._image_shape, self._sinogram_shape = image_shape, sinogram_shape

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
        parts = [image.new_empty((0, *self._sinogram_shape))]
        for group, folds in self._groups(image):
            if folds is None or self._base is None:
                parts.append(self._maps.apply(name, list(group.numpy())).contiguous())
            else:
                parts.append(folds.collect(self._base.apply(name, folds.planes(group.numpy()))))
        return torch.cat(parts)

    def _from_sinogram(self, sinogram: Tensor, name: str) -> Tensor:
        parts = [sinogram.new_empty((0, *self._image_shape))]
        for group, folds in self._groups(sinogram):
            if folds is None or self._base is None:
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
