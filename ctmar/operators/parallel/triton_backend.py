"""The CUDA backend: Triton kernels, compiled at the first call, nothing to build.

Only launches are here; the arithmetic is in :mod:`ctmar.operators.kernels.triton_kernels`, which is imported
when a backend is made, because triton comes with CUDA builds of torch only.
"""

import math
from dataclasses import fields, replace
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctmar.errors import CtmarError
from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.parallel.lines import Floats, Lines, joseph_lines, pixel_lines, view_weights

# Guesses, not measured on a GPU. Compiled for compute capability 9.0 they take at most 58 registers a
# thread, spill nothing, and keep a program's slices in registers beside shared coordinates.
BLOCK = 128
"""Output elements a program computes (a power of 2)."""
MOST_SLICES = 8
"""Largest number of slices that share a program and its coordinates (a power of 2)."""
WARPS = 4
"""Warps a program runs on."""

OLDEST = (7, 0)
"""Compute capability that Triton asks for."""
FURTHEST = 2.0**30
"""Coordinates, in elements, stay below this so that fixed point cannot overflow."""
SLACK = 2.0**-10
"""Added on both sides when looking for the samples that reach an element, against rounding."""


class TritonBackend:
    """Joseph and pixel-driven maps and their exact transposes on CUDA tensors, float32 or float64.

    Deterministic: every output element is summed by one program in a fixed order. Coordinates are
    good to about 2e-7 elements in both precisions; in float64 the pairs are transposes to rounding.

    Args:
        grid: Pixels.
        beam: Rays.

    Raises:
        CtmarError: Where triton is not installed, or rays lie absurdly far from the image.
    """

    name = "triton"

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        self.grid, self.beam = grid, beam
        _kernels()
        (rows, columns), bins = grid.shape, beam.det_count
        by_row, by_column = joseph_lines(grid, beam)
        pixels = pixel_lines(grid, beam, view_weights(beam))
        self._by_row = _Table(by_row, rows, bins, columns)
        self._by_column = _Table(by_column, columns, bins, rows)
        self._pixels = _Table(pixels, rows, columns, bins, solved=False)
        # The transpose looks for pixels along image lines, which must cross the rays: rows for steep
        # rays, columns for the others. The coordinates are the same numbers.
        steep = np.abs(pixels.per_element) >= np.abs(pixels.per_line)
        self._pixels_by_row = _Table(_choose(pixels, steep), rows, columns, bins)
        self._pixels_by_column = _Table(_swap(_choose(pixels, ~steep)), columns, rows, bins)

    @staticmethod
    def supports(device: torch.device | str) -> bool:
        """Whether tensors on ``device`` can be projected here; does not raise."""
        device = torch.device(device)
        if find_spec("triton") is None:
            return False
        if device.type == "cuda":
            return torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= OLDEST
        return _takes(device)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, H, W)`` in 1/mm to ``(B, A, D)``."""
        image = self._check(image)
        out = image.new_empty((len(image), *self.beam.shape))
        self._launch("pull", out, image, self._by_row, by_view=True)
        self._launch("pull", out, image.mT.contiguous(), self._by_column, by_view=True)
        return out

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of :meth:`forward`."""
        sinogram, (rows, columns) = self._check(sinogram), self.grid.shape
        by_row = sinogram.new_empty((len(sinogram), rows, columns))
        by_column = sinogram.new_empty((len(sinogram), columns, rows))
        self._launch("push", by_row, sinogram, self._by_row, by_view=False)
        self._launch("push", by_column, sinogram, self._by_column, by_view=False)
        return by_row.add_(by_column.mT)

    def backproject(self, sinogram: Tensor) -> Tensor:
        """Pixel-driven integral over θ, ``(B, A, D)`` to ``(B, H, W)``."""
        sinogram = self._check(sinogram)
        out = sinogram.new_empty((len(sinogram), *self.grid.shape))
        self._launch("pull", out, sinogram, self._pixels, by_view=False)
        return out

    def backproject_adjoint(self, image: Tensor) -> Tensor:
        """The transpose of :meth:`backproject`."""
        image = self._check(image)
        out = image.new_empty((len(image), *self.beam.shape))
        self._launch("push", out, image, self._pixels_by_row, by_view=True)
        self._launch("push", out, image.mT.contiguous(), self._pixels_by_column, by_view=True)
        return out

    def _check(self, x: Tensor) -> Tensor:
        if x.dtype not in (torch.float32, torch.float64) or not _takes(x.device):
            raise CtmarError(
                f"projector triton works on float32 or float64 CUDA tensors, got {x.dtype} on {x.device};"
                " projector=torch works on any device"
            )
        return x.detach().contiguous()

    def _launch(self, name: str, out: Tensor, source: Tensor, table: "_Table", by_view: bool) -> None:
        """The kernel of that name over all output rows of a table: its views, or the lines they share."""
        outer, inner = (table.views, table.lines) if by_view else (table.lines, table.views)
        batch = len(out)
        if outer * batch == 0:
            return
        numbers, first, weight = table.on(out.device)
        pulls = name == "pull"
        slices = min(1 << (batch - 1).bit_length(), MOST_SLICES)
        programs = (outer * -(-batch // slices), -(-out.shape[2] // BLOCK))
        counts = (batch, outer, inner, out.shape[1], source.shape[1], table.elements, table.size)
        with torch.cuda.device_of(out):
            getattr(_kernels(), name)[programs](
                *((out, source, numbers, weight) if pulls else (out, source, numbers, first, weight)),
                *counts,
                **({} if pulls else {"CANDIDATES": table.candidates}),
                BY_VIEW=by_view,
                BLOCK=BLOCK,
                SLICES=slices,
                num_warps=WARPS,
                enable_fp_fusion=True,
            )


class _Table:
    """A group of views in fixed point, and the same solved for the samples that reach an element.

    Sample n of line l lies at ``c = offset + per_line l + per_element n``, and ``|c - k| < 1`` holds for
    the n within ``1 / |per_element|`` of ``(k - offset - per_line l) / per_element``.

    Args:
        table: The views.
        lines: Number of lines they meet.
        elements: Samples on a line.
        size: Elements of the array that is sampled.
        solved: Whether to solve for n, which takes ``per_element`` well away from 0.

    Raises:
        CtmarError: Where coordinates exceed :data:`FURTHEST`.
    """

    def __init__(self, table: Lines, lines: int, elements: int, size: int, solved: bool = True) -> None:
        self.views, self.lines, self.elements, self.size = len(table.views), lines, elements, size
        per_k = 1 / table.per_element if solved else np.zeros(self.views)
        reach = np.abs(per_k) + SLACK
        self.candidates = math.ceil(2 * reach.max(initial=0.0))
        # The 1 rounds up: the first whole number above a bound is its floor plus one.
        first = (1 - table.offset * per_k - reach, -table.per_line * per_k, per_k)
        numbers = _fixed_point(table.offset, table.per_line, table.per_element, extent=(lines, elements))
        self._host = (
            np.column_stack([table.views, numbers]),
            _fixed_point(*first, extent=(lines, size)),
            table.weight,
        )
        self._copies: dict[torch.device, tuple[Tensor, ...]] = {}

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The kernels' ``table``, ``first`` and ``weight``, copied to a device once."""
        if device not in self._copies:
            self._copies[device] = tuple(torch.from_numpy(array).to(device) for array in self._host)
        return self._copies[device]


def _fixed_point(
    offset: Floats, per_line: Floats, per_n: Floats, extent: tuple[int, int]
) -> NDArray[np.int64]:
    """``(views, 3)`` coefficients times 2³², as the kernels add them."""
    table = np.column_stack([offset, per_line, per_n])
    furthest = (np.abs(table) @ np.array([1, *extent])).max(initial=0.0)
    if not furthest < FURTHEST:
        raise CtmarError(
            f"projector triton needs rays within 2^30 pixels and bins of the image, got {furthest:.3g};"
            " check spacing_mm, det_spacing_mm and det_offset_mm"
        )
    return np.rint(table * 2.0**32).astype(np.int64)


def _choose(lines: Lines, where: NDArray[np.bool_]) -> Lines:
    """Some of the views."""
    return Lines(*(getattr(lines, field.name)[where] for field in fields(lines)))


def _swap(lines: Lines) -> Lines:
    """The same coordinates with lines and elements exchanged: image columns become the lines."""
    return replace(lines, per_line=lines.per_element, per_element=lines.per_line)


def _kernels() -> ModuleType:
    """The kernels, or what to install."""
    try:
        from ctmar.operators.kernels import triton_kernels
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise CtmarError(
            "projector triton requires the package triton, which comes with CUDA builds of torch"
            " (else: pip install triton)"
        ) from error
    return triton_kernels


def _takes(device: torch.device) -> bool:
    """Whether the kernels read this device's memory: Triton's interpreter reads the CPU's."""
    if device.type != "cpu":
        return device.type == "cuda"
    kernels = _kernels()
    from triton.runtime.jit import JITFunction

    return not isinstance(kernels.pull, JITFunction)
