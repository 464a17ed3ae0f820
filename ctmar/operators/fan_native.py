"""Fan beams on a CPU: compiled kernels over interleaved lanes, no atomics.

Every output line is written by one task in a fixed order, so results do not depend on the number
of threads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctmar.geometry import FanBeam, ImageGrid
from ctmar.operators.fan_rays import fan_rays, turn_weights
from ctmar.operators.fan_symmetry import FanSymmetry
from ctmar.operators.lane_backend import LaneBackend, LaneMaps, interleaved, over_lines

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
        symmetry, base = None, None
        if FanSymmetry.applies(grid, fan):
            symmetry = FanSymmetry(grid, fan)
            views = symmetry.fan.num_angles
            base = _FanMaps(grid, symmetry.fan, np.full(views, 2 * np.pi / fan.num_angles))
        super().__init__(maps, grid.shape, fan.shape, symmetry, base)


class _FanMaps(LaneMaps):
    """The four maps of one geometry on interleaved slices.

    Args:
        grid: Pixels.
        fan: Rays.
        weights: Each view's share of the turn in rad.
    """

    def __init__(self, grid: ImageGrid, fan: FanBeam, weights: NDArray[np.float64]) -> None:
        self.grid, self.fan, self._weights = grid, fan, weights
        self._rays = fan_rays(grid, fan)

    def _forward(self, image: NDArray, lanes: tuple) -> NDArray:
        out = np.zeros((*self.fan.shape, len(lanes)), image.dtype)
        turned = np.moveaxis(image[:, 1:-1].swapaxes(0, 1), -1, 0)
        sources = {True: image, False: interleaved(list(turned), len(lanes), margin=True)}

        def views(first: int, last: int) -> None:
            for walk_rows, source in sources.items():
                _kernel("project")(out, source, *self._table(walk_rows, first, last), TASK_LINES, lanes)

        over_lines(len(out), TASK_LINES, views)
        return out

    def _adjoint(self, sinogram: NDArray, lanes: tuple) -> NDArray:
        (rows, columns), parts = self.grid.shape, []
        for walk_rows, shape in ((True, (rows, columns + 2)), (False, (columns, rows + 2))):
            out = np.zeros((*shape, len(lanes)), sinogram.dtype)
            for view in range(0, len(sinogram), TABLE_VIEWS):
                table = self._table(walk_rows, view, min(view + TABLE_VIEWS, len(sinogram)))

                def rows_of(first: int, last: int, out: NDArray = out, table: list = table) -> None:
                    _kernel("spread")(out, sinogram, *table, first, last, lanes)

                over_lines(len(out), TASK_LINES, rows_of)
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
        source, shadows = sinogram, self._shadows()
        over_lines(
            len(out),
            TASK_LINES,
            lambda first, last: _kernel("backproject")(out, source, *shadows, first, last, TASK_LINES, lanes),
        )
        return out

    def _backproject_adjoint(self, image: NDArray, lanes: tuple) -> NDArray:
        views, bins = self.fan.shape
        out, shadows = np.zeros((views, bins + 2, len(lanes)), image.dtype), self._shadows()
        over_lines(
            len(out),
            TASK_LINES,
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
