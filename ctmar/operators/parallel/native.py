"""The CPU backend of parallel beams: numba kernels over interleaved lanes, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads.
"""

import numpy as np
from numpy.typing import NDArray

from ctmar.geometry import ImageGrid, ParallelBeam
from ctmar.operators.kernels.lane_backend import LaneBackend, Read, Route, zero_part
from ctmar.operators.kernels.planes import Part
from ctmar.operators.kernels.threads import over_lines
from ctmar.operators.parallel.lines import Lines, joseph_lines, pixel_lines, view_weights
from ctmar.operators.parallel.symmetry import Symmetry

TASK_LINES = 16
"""Outer lines of a task: what it reads stays in cache for all of them."""


class NativeBackend(LaneBackend):
    """Joseph and pixel-driven maps of parallel beams and their exact transposes, compiled."""

    def __init__(self, grid: ImageGrid, beam: ParallelBeam) -> None:
        folded = None
        if Symmetry.applies(grid, beam):
            symmetry = Symmetry(grid, beam)
            weights = np.full(symmetry.beam.num_angles, np.pi / beam.num_angles)
            base = _ParallelMaps(grid, symmetry.beam, weights)
            folded = Route(base, symmetry.image, symmetry.sinogram)
        maps = _ParallelMaps(grid, beam, view_weights(beam))
        super().__init__(maps, grid.shape, beam.shape, folded)


class _ParallelMaps:
    """The four maps of one geometry on interleaved slices.

    Args:
        grid: Pixels.
        beam: Rays.
        weights: Each view's weight in the pixel-driven pair, rad.
    """

    def __init__(self, grid: ImageGrid, beam: ParallelBeam, weights: NDArray[np.float64]) -> None:
        self.grid, self.beam = grid, beam
        self._joseph = dict(zip((False, True), joseph_lines(grid, beam), strict=True))
        self._pixels = pixel_lines(grid, beam, weights)

    def forward(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        from ctmar.operators.kernels.lanes import MARGIN

        part = None
        for turned, lines in self._joseph.items():
            if len(lines.views):
                source = read(margin=MARGIN, turned=turned)
                part = part or zero_part(self.beam.shape, lanes, source.dtype, margin=0)
                _run("pull", part.array, source, lines, lines.weight, True, lanes)
        assert part is not None, "a beam has views"
        return [part]

    def adjoint(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        source, parts = read(margin=0), []
        for turned, lines in self._joseph.items():
            if len(lines.views):
                shape = self.grid.shape[:: -1 if turned else 1]
                parts.append(zero_part(shape, lanes, source.dtype, margin=1, turned=turned))
                _run("push", parts[-1].array, source, lines, lines.weight, False, lanes)
        return parts

    def backproject(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        from ctmar.operators.kernels.lanes import MARGIN

        source, weights = read(margin=MARGIN), self._pixels.weight
        # The kernel weighs what it writes: views that count alike need no pass of their own.
        if np.ptp(weights) > 0:
            source *= weights.astype(source.dtype)[:, None, None]
            weights = np.ones(1)
        part = zero_part(self.grid.shape, lanes, source.dtype, margin=0)
        each = np.full(len(part.array), weights[0])
        _run("pull", part.array, source, self._pixels, each, False, lanes)
        return [part]

    def backproject_adjoint(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        source = read(margin=0)
        part = zero_part(self.beam.shape, lanes, source.dtype, margin=1)
        _run("push", part.array, source, self._pixels, self._pixels.weight, True, lanes)
        return [part]


def _run(
    kernel: str,
    out: NDArray,
    source: NDArray,
    lines: Lines,
    weight: NDArray[np.float64],
    by_view: bool,
    lanes: tuple,
) -> None:
    """Runs a kernel over all outer lines of ``out``, in tasks over this process's threads."""
    from ctmar.operators.kernels import lanes as kernels  # numba takes a second to import

    apply = getattr(kernels, kernel)
    table = (lines.views, lines.offset, lines.per_line, lines.per_element, weight)
    outer = len(lines.views) if by_view else len(out)
    over_lines(outer, TASK_LINES, lambda first, last: apply(out, source, *table, by_view, first, last, lanes))
