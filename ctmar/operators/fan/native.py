"""Fan beams on a CPU: compiled kernels over interleaved lanes, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.fan.rays import fan_rays, turn_weights
from ctmar.operators.fan.symmetry import FanSymmetry
from ctmar.operators.kernels.lane_backend import LaneBackend, Read, Route, zero_part
from ctmar.operators.kernels.planes import Part
from ctmar.operators.kernels.threads import over_lines

TASK_LINES = 16
TABLE_VIEWS = 64
"""Views whose rays are in a table at a time, so that tables stay small and in cache."""


class FanNative(LaneBackend):
    """Joseph and distance-weighted pixel-driven maps of a fan beam and their exact transposes.

    Works on CPU tensors, float32 or float64. Slices go through the kernels in groups, one a lane; a
    group too small for that goes through as its eight symmetric copies where the geometry has them.

    Args:
        grid: Pixels.
        fan: Rays.

    Raises:
        CtmarError: If the source would pass through the image.
    """

    def __init__(self, grid: ImageGrid, fan: FanBeam) -> None:
        maps = _FanMaps(grid, fan, turn_weights(fan))
        folded = None
        if FanSymmetry.applies(grid, fan):
            symmetry = FanSymmetry(grid, fan)
            views = symmetry.fan.num_angles
            base = _FanMaps(grid, symmetry.fan, np.full(views, 2 * np.pi / fan.num_angles))
            folded = Route(base, symmetry.image, symmetry.sinogram)
        super().__init__(maps, grid.shape, fan.shape, folded)


class _FanMaps:
    """The four maps of one geometry on interleaved slices.

    Args:
        grid: Pixels.
        fan: Rays.
        weights: Each view's share of the turn in rad.
    """

    def __init__(self, grid: ImageGrid, fan: FanBeam, weights: NDArray[np.float64]) -> None:
        self.grid, self.fan, self._weights = grid, fan, weights
        self._rays = fan_rays(grid, fan)

    def forward(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        sources = {walk_rows: read(margin=1, turned=not walk_rows) for walk_rows in (True, False)}
        part = zero_part(self.fan.shape, lanes, sources[True].dtype, margin=0)

        def views(first: int, last: int) -> None:
            for walk_rows, source in sources.items():
                _kernel("project")(
                    part.array, source, *self._table(walk_rows, first, last), TASK_LINES, lanes
                )

        over_lines(len(part.array), TASK_LINES, views)
        return [part]

    def adjoint(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        sinogram, parts = read(margin=0), []
        for turned in (False, True):
            shape = self.grid.shape[:: -1 if turned else 1]
            part = zero_part(shape, lanes, sinogram.dtype, margin=1, turned=turned)
            parts.append(part)
            for view in range(0, len(sinogram), TABLE_VIEWS):
                table = self._table(not turned, view, min(view + TABLE_VIEWS, len(sinogram)))

                def rows_of(first: int, last: int, out: NDArray = part.array, table: list = table) -> None:
                    _kernel("spread")(out, sinogram, *table, first, last, lanes)

                over_lines(len(part.array), TASK_LINES, rows_of)
        return parts

    def _table(self, walk_rows: bool, first: int, last: int) -> list[NDArray]:
        """The rays of views [first, last) that walk rows, or columns: places, starts, steps and lengths."""
        ray, most = self._rays, (last - first) * self.fan.det_count
        table = [np.empty(most, kind) for kind in (np.int64, np.int64, np.int64, np.float64)]
        geometry = ray.views, ray.bins, ray.radius, ray.spacing, *self.grid.shape
        count = _kernel("trace")(walk_rows, *geometry, first, last, *table)
        return [column[:count] for column in table]

    def backproject(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        source, shadows = read(margin=1), self._shadows()
        part = zero_part(self.grid.shape, lanes, source.dtype, margin=0)
        over_lines(
            len(part.array),
            TASK_LINES,
            lambda first, last: _kernel("backproject")(
                part.array, source, *shadows, first, last, TASK_LINES, lanes
            ),
        )
        return [part]

    def backproject_adjoint(self, read: Read, lanes: tuple) -> list[Part]:
        """See :class:`~ctmar.operators.kernels.lane_backend.LaneMaps`."""
        image, shadows = read(margin=0), self._shadows()
        part = zero_part(self.fan.shape, lanes, image.dtype, margin=1)
        over_lines(
            len(part.array),
            TASK_LINES,
            lambda first, last: _kernel("backproject_adjoint")(
                part.array, image, *shadows, first, last, lanes
            ),
        )
        return [part]

    def _shadows(self) -> tuple[Any, ...]:
        """What the pixel-driven kernels take of the geometry, in their order."""
        ray = self._rays
        return ray.views, self._weights, ray.radius, ray.density, ray.centre, ray.arc


def _kernel(name: str) -> Any:
    from ctmar.operators.kernels import fan_kernels  # numba takes a second to import

    return getattr(fan_kernels, name)
