"""How slices are laid out as lanes and back: as they are, turned and mirrored, or ray by ray from a list.

A *plane* is one copy of one slice; planes are numbered copies outermost, and each fills a lane of an
array ``(line, element, lane)``. Reading and writing are exact transposes, so that a map and its
transpose stay a pair whatever the layout.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ctmar.operators.kernels.threads import over_lines

CACHE_LINE = 64
TASK_LINES = 32
"""Lines a task copies: a multiple of the kernels' tile."""


@dataclass(frozen=True)
class Part:
    """Lines that a map wrote.

    Attributes:
        array: ``(line, element, lane)``, contiguous.
        margin: Elements at both ends of each line that do not count.
        turned: Whether lines are the columns of what is wanted, rather than its rows.
    """

    array: NDArray
    margin: int = 0
    turned: bool = False


class Layout(Protocol):
    """The copies of a slice that a map works on; each plane has the same lines and elements."""

    copies: int

    def read(self, slices: NDArray, planes: range, width: int, margin: int, turned: bool = False) -> NDArray:
        """Planes as lanes, zeros in the lanes beyond them and in the margins.

        Args:
            slices: ``(B, rows, columns)``, contiguous.
            planes: Which planes, at most ``width``.
            width: Lanes of the result.
            margin: Zero elements before and after each line.
            turned: Whether lines are to be the planes' columns.
        """
        ...

    def add(self, slices: NDArray, planes: range, part: Part) -> None:
        """Adds lanes to the slices that they are copies of: the transpose of :meth:`read`."""
        ...


class Turned:
    """Copies that are the slice turned and mirrored, or, with one copy, the slice as it is.

    Copy n is turned by n quarters (``numpy.rot90``), from the fifth on mirrored as well.

    Args:
        shape: Rows and columns of a slice; equal where there are several copies.
        copies: 1 or 8.
    """

    def __init__(self, shape: tuple[int, int], copies: int = 1) -> None:
        self.shape, self.copies = shape, copies

    def read(self, slices: NDArray, planes: range, width: int, margin: int, turned: bool = False) -> NDArray:
        """See :class:`Layout`."""
        lines, elements = self.shape[::-1] if turned else self.shape
        out = _room(lines, elements, width, margin, len(planes), slices.dtype)
        columns, size = self.shape[1], self.shape[0] * self.shape[1]
        places = np.empty((3, len(planes)), np.int64)
        for lane, plane in enumerate(planes):
            copy, b = divmod(plane, len(slices))
            places[:, lane] = _affine(lambda i, j, copy=copy: self._source(copy, i, j) @ (columns, 1), turned)
            places[0, lane] += b * size
        source = slices.reshape(-1)
        over_lines(lines, TASK_LINES, lambda a, z: _kernel("take")(out, source, *places, margin, a, z))
        return out

    def add(self, slices: NDArray, planes: range, part: Part) -> None:
        """See :class:`Layout`."""
        _, length, width = part.array.shape
        places, targets = np.empty((3, len(planes)), np.int64), np.empty(len(planes), np.int64)
        for lane, plane in enumerate(planes):
            copy, targets[lane] = divmod(plane, len(slices))
            # Turning back by n quarters is turning by 4 - n; mirrored copies are their own inverses.
            inverse = -copy % 4 if copy < 4 else copy

            def place(i: int, j: int, inverse: int = inverse, lane: int = lane) -> int:
                line, element = self._source(inverse, i, j)[:: -1 if part.turned else 1]
                return int((line * length + element + part.margin) * width + lane)

            places[:, lane] = _affine(place)
        source = part.array.reshape(-1)
        rows = self.shape[0]
        over_lines(rows, TASK_LINES, lambda a, z: _kernel("add")(slices, source, targets, *places, a, z))

    def _source(self, copy: int, i: int, j: int) -> NDArray[np.int64]:
        """Row and column of the slice that copy's pixel (i, j) shows."""
        last = self.shape[0] - 1
        if copy >= 4:
            j = last - j
        for _ in range(copy % 4):
            i, j = j, last - i
        return np.array([i, j])


class Listed:
    """Copies whose elements are rays of the slice by a list.

    Args:
        table: int ``(copy, line, element)``: which element of a slice's flat array each is; -1 for none.
            No element is listed twice.
    """

    def __init__(self, table: NDArray[np.int64]) -> None:
        self.copies = len(table)
        self._table = np.ascontiguousarray(table, np.int32)

    def read(self, slices: NDArray, planes: range, width: int, margin: int, turned: bool = False) -> NDArray:
        """See :class:`Layout`; ``turned`` is for images."""
        assert not turned
        _, lines, elements = self._table.shape
        out = _room(lines, elements, width, margin, len(planes), slices.dtype)
        copy, b = self._split(planes, slices)
        flat, table = slices.reshape(len(slices), -1), self._table
        over_lines(
            lines, TASK_LINES, lambda a, z: _kernel("take_listed")(out, flat, table, copy, b, margin, a, z)
        )
        return out

    def add(self, slices: NDArray, planes: range, part: Part) -> None:
        """See :class:`Layout`."""
        assert not part.turned
        copy, b = self._split(planes, slices)
        flat, table = slices.reshape(len(slices), -1), self._table
        source, margin = part.array, part.margin
        over_lines(
            len(source),
            TASK_LINES,
            lambda a, z: _kernel("add_listed")(flat, source, table, copy, b, margin, a, z),
        )

    @staticmethod
    def _split(planes: range, slices: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        copy, b = np.divmod(np.asarray(planes, np.int64), len(slices))
        return copy, b


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray:
    """An array that starts on a cache line, so that no vector of lanes crosses one; not initialised.

    A store across lines is not forwarded to the load after it, which made the transposes of 16 lanes
    five times as slow.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def _room(lines: int, elements: int, width: int, margin: int, used: int, dtype: Any) -> NDArray:
    """An array for planes, zero where none will be written."""
    out = aligned((lines, elements + 2 * margin, width), dtype)
    if margin:
        out[:, :margin] = out[:, elements + margin :] = 0
    out[..., used:] = 0
    return out


def _affine(place: Any, turned: bool = False) -> tuple[int, int, int]:
    """Origin, step a line and step an element of an affine function of (i, j); of (j, i) where turned."""
    origin = place(0, 0)
    steps = place(1, 0) - origin, place(0, 1) - origin
    return (origin, *steps[:: -1 if turned else 1])


def _kernel(name: str) -> Any:
    from ctmar.operators.kernels import copies  # numba takes a second to import

    return getattr(copies, name)
