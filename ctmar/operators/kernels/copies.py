"""The compiled copies between slices and lanes (:mod:`ctmar.operators.kernels.planes`), a tile at a time.

Lanes lie beside each other, so that one plane touches every cache line of its lines: within a tile all
planes do so while it stays in the first-level cache.
"""

import numpy as np
from numba import njit

TILE = 16


@njit(nogil=True, cache=True)
def take(out, source, origin, per_line, per_element, margin, first, last):
    """``out[i, margin + j, l] = source[origin[l] + per_line[l] i + per_element[l] j]``.

    Args:
        out: ``(line, element, lane)``.
        source: Flat; lanes from ``len(origin)`` on are left alone.
        origin: Place of the first element, one entry a lane.
        per_line: Step from line to line.
        per_element: Step from element to element.
        margin: Elements before the first.
        first: First line of this task.
        last: One past its last.
    """
    elements = out.shape[1] - 2 * margin
    for line in range(first, last, TILE):
        for element in range(0, elements, TILE):
            past = min(element + TILE, elements)
            for n in range(len(origin)):
                step = per_element[n]
                for i in range(line, min(line + TILE, last)):
                    at = origin[n] + per_line[n] * i + step * element
                    for j in range(element, past):
                        out[i, margin + j, n] = source[np.uint64(at)]
                        at += step


@njit(nogil=True, cache=True)
def add(out, source, target, origin, per_row, per_column, first, last):
    """``out[target[l], i, j] += source[origin[l] + per_row[l] i + per_column[l] j]`` for i in [first, last).

    Args:
        out: ``(slice, row, column)``.
        source: Flat.
        target: Slice that each lane is added to.
        origin: Place in ``source`` of the slice's first pixel, one entry a lane.
        per_row: Step from row to row.
        per_column: Step from column to column.
        first: First row of this task.
        last: One past its last.
    """
    columns = out.shape[2]
    for row in range(first, last, TILE):
        for column in range(0, columns, TILE):
            past = min(column + TILE, columns)
            for n in range(len(origin)):
                b, step = target[n], per_column[n]
                for i in range(row, min(row + TILE, last)):
                    at = origin[n] + per_row[n] * i + step * column
                    for j in range(column, past):
                        out[b, i, j] += source[np.uint64(at)]
                        at += step


@njit(nogil=True, cache=True)
def take_listed(out, source, table, copy, b, margin, first, last):
    """``out[i, margin + j, l] = source[b[l], table[copy[l], i, j]]``, or 0 where the table has -1.

    Args:
        out: ``(line, element, lane)``.
        source: ``(slice, element)``.
        table: ``(copy, line, element)``.
        copy: Of each lane.
        b: Slice of each lane.
        margin: Elements before the first.
        first: First line of this task.
        last: One past its last.
    """
    elements = table.shape[2]
    for i in range(first, last):
        for element in range(0, elements, TILE):
            for n in range(len(copy)):
                for j in range(element, min(element + TILE, elements)):
                    at = table[copy[n], i, j]
                    out[i, margin + j, n] = source[b[n], at] if at >= 0 else 0


@njit(nogil=True, cache=True)
def add_listed(out, source, table, copy, b, margin, first, last):
    """``out[b[l], table[copy[l], i, j]] += source[i, margin + j, l]``: the transpose of :func:`take_listed`.

    Tasks may share ``out``, since no element is listed twice.
    """
    elements = table.shape[2]
    for i in range(first, last):
        for element in range(0, elements, TILE):
            for n in range(len(copy)):
                for j in range(element, min(element + TILE, elements)):
                    at = table[copy[n], i, j]
                    if at >= 0:
                        out[b[n], at] += source[i, margin + j, n]
