"""The CPU backend of parallel beams: numba kernels over interleaved lanes, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads.
"""

import numpy as np
from numpy.typing import NDArray

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.lane_backend import BLOCK_LINES, LaneBackend, LaneMaps, interleaved, over_lines
from ctmar.operators.lines import Lines, joseph_lines, pixel_lines, view_weights
from ctmar.operators.symmetry import Symmetry

TASK_LINES = {"pull": 8, "push": 16}
"""Outer lines of a task: few enough for the threads to end together, but a block for ``push``."""


class NativeBackend(LaneBackend):
    """Joseph and pixel-driven maps of parallel beams and their exact transposes, compiled."""

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        symmetry, base = None, None
        if Symmetry.applies(grid, beam):
            symmetry = Symmetry(grid, beam)
            weights = np.full(symmetry.beam.num_angles, np.pi / beam.num_angles)
            base = _ParallelMaps(grid, symmetry.beam, weights)
        maps = _ParallelMaps(grid, beam, view_weights(beam))
        super().__init__(maps, grid.shape, beam.shape, symmetry, base)


class _ParallelMaps(LaneMaps):
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

    def _forward(self, image: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.beam.shape, len(lanes)), image.dtype)
        if len(self._by_row.views) == len(out):
            _run("pull", out, image, self._by_row, True, lanes)
            return out
        turned = interleaved(list(np.moveaxis(image[:, 1:-1].swapaxes(0, 1), -1, 0)), len(lanes), margin=True)
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


def _run(kernel: str, out: NDArray, source: NDArray, lines: Lines, by_view: bool, lanes: tuple) -> None:
    """Runs a kernel over all outer lines of ``out``, in tasks over this process's threads."""
    from ctmar.operators import lanes as kernels  # numba takes a second to import

    apply = getattr(kernels, kernel)
    table = (lines.offset, lines.per_line, lines.per_element, lines.weight)

    def work(first: int, last: int) -> None:
        apply(out, source, *table, by_view, first, last, BLOCK_LINES, lanes)

    over_lines(len(out), TASK_LINES[kernel], work)
