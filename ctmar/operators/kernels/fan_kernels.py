"""The compiled kernels of fan beams: every ray has its own line, so bounds are kept per ray.

Arrays are interleaved as in :mod:`ctmar.operators.kernels.lanes`. A ray is worked on in stretches of a few
image lines: its sum (or its value) stays in a register while it crosses them, and the lines stay in
cache while all rays cross.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ctmar.operators.kernels.lanes import (
    FRACTION_BITS,
    ONE,
    broadcast,
    multiply_add,
    pull_vector,
    push_vector,
    samples_inside,
    vectors_at,
)

UNROLL = 4
"""Lines a step of the inner loop: as many sums as hide the latency of an addition."""


def _crossing(builder: Any, at: Any, kind: Any) -> tuple:
    """The element that a fixed-point place is behind, and the two weights there."""
    place = builder.ashr(at, ir.Constant(at.type, FRACTION_BITS))
    fraction = builder.sitofp(builder.and_(at, ir.Constant(at.type, ONE - 1)), kind)
    right = builder.fmul(fraction, ir.Constant(kind, 1.0 / ONE))
    return place, builder.fsub(ir.Constant(kind, 1.0), right), right


def _walk(builder: Any, kind: Any, width: int, args: Any, visit: Any) -> None:
    """Calls ``visit(n, scalar index, weights)`` for each line of [low, high); n numbers those of one step."""
    low, high, start, step, elements = args
    integer = low.type
    number = lambda value: ir.Constant(integer, value)  # noqa: E731

    def lines(first: Any, past: Any, stride: int) -> None:
        with cgutils.for_range_slice(builder, first, past, number(stride), integer, inc=True) as (line, _):
            for n in range(stride):
                here = builder.add(line, number(n))
                place, *weights = _crossing(builder, builder.add(start, builder.mul(step, here)), kind)
                index = builder.add(builder.mul(here, elements), place)
                visit(n, builder.mul(index, number(width)), weights)

    steps = builder.and_(builder.sub(high, low), number(-UNROLL))
    whole = builder.add(low, steps)
    lines(low, whole, UNROLL)
    lines(whole, high, 1)


def _signature(to: Any, source: Any, lanes: Any) -> Any:
    n = types.intp
    return types.void(to, n, source, n, n, n, n, n, to.dtype, lanes)


@intrinsic
def _gather(typing_context, to, i, source, low, high, start, step, elements, weight, lanes):
    """``to[i] += weight · Σ lerp(source[l], start + step · l)`` over lines l in [low, high), on vectors.

    ``i`` counts scalars, ``elements`` is the length of a line; ``start`` and ``step`` are fixed-point.
    """
    width = lanes.count

    def generate(context, builder, signature, args):
        kind = context.get_data_type(to.dtype)
        align, vector = context.get_abi_sizeof(kind), ir.VectorType(kind, width)
        zero = ir.Constant(vector, [0.0] * width)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(UNROLL)]

        def visit(n, index, weights):
            total = builder.load(sums[n])
            pointers = vectors_at(context, builder, source, args[2], index, width, 2)
            for pointer, share in zip(pointers, weights, strict=True):
                total = multiply_add(builder, builder.load(pointer, align=align), share, total, width)
            builder.store(total, sums[n])

        _walk(builder, kind, width, args[3:8], visit)
        (out,) = vectors_at(context, builder, to, args[0], args[1], width, 1)
        total = zero
        for part in sums:
            total = builder.fadd(total, builder.load(part))
        total = multiply_add(builder, total, args[8], builder.load(out, align=align), width)
        builder.store(total, out, align=align)
        return context.get_dummy_value()

    return _signature(to, source, lanes), generate


@intrinsic
def _scatter(typing_context, to, i, source, low, high, start, step, elements, weight, lanes):
    """``to[l] += lerpᵀ(weight · source[i], start + step · l)``: the transpose of :func:`_gather`."""
    width = lanes.count

    def generate(context, builder, signature, args):
        kind = context.get_data_type(to.dtype)
        align = context.get_abi_sizeof(kind)
        (at,) = vectors_at(context, builder, source, args[2], args[1], width, 1)
        value = builder.fmul(builder.load(at, align=align), broadcast(builder, args[8], width))

        def visit(n, index, weights):
            pointers = vectors_at(context, builder, to, args[0], index, width, 2)
            for pointer, share in zip(pointers, weights, strict=True):
                total = multiply_add(builder, value, share, builder.load(pointer, align=align), width)
                builder.store(total, pointer, align=align)

        _walk(builder, kind, width, args[3:8], visit)
        return context.get_dummy_value()

    return _signature(to, source, lanes), generate


@njit(nogil=True, cache=True)
def trace(
    walk_rows, views, bins, radius, spacing, rows, columns, first, last, places, starts, steps, lengths
):
    """Fills a table with the rays of views [first, last) that walk rows (or columns); returns their number.

    Args:
        walk_rows: True for rays that walk rows, False for those that walk columns.
        views: cos and sin of each view's β, ``(2, view)``.
        bins: cos and sin of each bin's γ, ``(2, bin)``.
        radius: Distance of the source in pixels.
        spacing: Edge of a pixel in mm.
        rows: Rows of the image.
        columns: Its columns.
        first: First view.
        last: One past the last.
        places: ``view · D + bin`` of each ray.
        starts: Its fixed-point crossing with line 0, in elements of a line with a zero element before it.
        steps: Its fixed-point step a line.
        lengths: Its length a line in mm.
    """
    middle_row, middle_column = (rows - 1) / 2, (columns - 1) / 2
    count, n_lines, size = 0, columns, rows
    if walk_rows:
        n_lines, size = rows, columns
    for v in range(first, last):
        for n in range(bins.shape[1]):
            c = views[0, v] * bins[0, n] + views[1, v] * bins[1, n]
            s = views[1, v] * bins[0, n] - views[0, v] * bins[1, n]
            if (abs(c) >= abs(s)) != walk_rows:
                continue
            t = radius * bins[1, n]
            if walk_rows:
                inverse = 1.0 / c
                start, step = (t - middle_row * s) * inverse + middle_column + 1.0, s * inverse
            else:
                inverse = 1.0 / s
                start, step = middle_row - (t + middle_column * c) * inverse + 1.0, c * inverse
            end = start + step * (n_lines - 1)
            if max(start, end) < 0.0 or min(start, end) > size + 1.0:
                continue
            places[count] = v * bins.shape[1] + n
            starts[count], steps[count] = np.floor(start * ONE + 0.5), np.floor(step * ONE + 0.5)
            lengths[count] = spacing * abs(inverse)
            count += 1
    return count


@njit(nogil=True, cache=True)
def _stretch(start, step, first, last, size):
    """Lines in [first, last) where ``0 <= start + step * line < (size + 1) * ONE``."""
    a, b, end = start + step * first, start + step * (last - 1), (size + 1) * ONE
    if 0 <= a < end and 0 <= b < end:  # most rays: no division
        return first, last
    if (a < 0 and b < 0) or (a >= end and b >= end):
        return first, first
    low, high = samples_inside(a, step, last - first, size)
    return first + low, first + high


@njit(nogil=True, cache=True)
def project(out, source, places, starts, steps, lengths, block, lanes):
    """Joseph's line integrals of the rays in a table (:func:`trace`) that walk the lines of ``source``.

    Args:
        out: ``(view, bin, lanes)``, added to.
        source: The image's rows or columns, ``(line, element + 2, lanes)``, a zero element at both ends.
        places: The table's columns, and so the next three.
        starts: As above.
        steps: As above.
        lengths: As above.
        block: Image lines worked on while they stay in cache.
        lanes: A tuple with as many entries as lanes.
    """
    width, kind, size = len(lanes), out.dtype.type, source.shape[1] - 2
    for a in range(0, source.shape[0], block):
        b = min(a + block, source.shape[0])
        for ray in range(len(places)):
            start, step = starts[ray], steps[ray]
            low, high = _stretch(start, step, a, b, size)
            if low < high:
                to = places[ray] * width
                _gather(out, to, source, low, high, start, step, size + 2, kind(lengths[ray]), lanes)


@njit(nogil=True, cache=True)
def spread(out, sinogram, places, starts, steps, lengths, first, last, lanes):
    """The transpose of :func:`project` onto the image lines in [first, last).

    Here ``out`` is ``(line, element + 2, lanes)``, added to, with its two ends to be dropped, and
    ``sinogram`` is ``(view, bin, lanes)``; the rest is as in :func:`project`.
    """
    width, kind, size = len(lanes), out.dtype.type, out.shape[1] - 2
    for ray in range(len(places)):
        start, step = starts[ray], steps[ray]
        low, high = _stretch(start, step, first, last, size)
        if low < high:
            at = places[ray] * width
            _scatter(out, at, sinogram, low, high, start, step, size + 2, kind(lengths[ray]), lanes)


@njit(nogil=True, cache=True)
def _shadow(x, y, cos_view, sin_view, radius, density, arc):
    """Where a pixel's shadow falls, in bins from the central ray, and ``(R / distance)²``."""
    depth = radius + y * cos_view - x * sin_view
    across = x * cos_view + y * sin_view
    if arc:
        return density * np.arctan(across / depth), radius * radius / (depth * depth + across * across)
    ratio = 1.0 / depth
    return density * across * ratio, radius * radius * ratio * ratio


@njit(nogil=True, cache=True)
def backproject(out, sinogram, views, weights, radius, density, centre, arc, first, last, block, lanes):
    """Distance-weighted pixel-driven integral over β onto the image rows in [first, last).

    Args:
        out: ``(row, column, lanes)``, added to.
        sinogram: ``(view, bin + 2, lanes)``, a zero element at both ends of each view.
        views: cos and sin of each view's β, ``(2, view)``.
        weights: Each view's share of the turn in rad.
        radius: Distance of the source in pixels.
        density: Bins a unit of ``tan γ`` (flat) or of γ (arc).
        centre: The bin of the central ray.
        arc: True for a detector bent around the source.
        first: First row of this task.
        last: One past its last.
        block: Views worked on while they stay in cache.
        lanes: A tuple with as many entries as lanes.
    """
    width, kind = len(lanes), out.dtype.type
    rows, columns, size = out.shape[0], out.shape[1], sinogram.shape[1] - 2
    for a in range(0, sinogram.shape[0], block):
        for i in range(first, last):
            y = (rows - 1) / 2 - i
            for v in range(a, min(a + block, sinogram.shape[0])):
                for j in range(columns):
                    at, share = _shadow(
                        j - (columns - 1) / 2, y, views[0, v], views[1, v], radius, density, arc
                    )
                    at += centre + 1.0
                    if 0.0 < at < size + 1.0:
                        k = min(int(at), size)
                        share *= weights[v]
                        right = share * (at - k)
                        source = (v * (size + 2) + k) * width
                        to = (i * columns + j) * width
                        pull_vector(out, to, sinogram, source, kind(share - right), kind(right), lanes)


@njit(nogil=True, cache=True)
def backproject_adjoint(out, image, views, weights, radius, density, centre, arc, first, last, lanes):
    """The transpose of :func:`backproject`, for the views in [first, last).

    Here ``out`` is ``(view, bin + 2, lanes)`` with its two ends to be dropped, ``image`` is
    ``(row, column, lanes)``, and the rest as in :func:`backproject`.
    """
    width, kind = len(lanes), out.dtype.type
    rows, columns, size = image.shape[0], image.shape[1], out.shape[1] - 2
    for i in range(rows):
        y = (rows - 1) / 2 - i
        for v in range(first, last):
            for j in range(columns):
                at, share = _shadow(j - (columns - 1) / 2, y, views[0, v], views[1, v], radius, density, arc)
                at += centre + 1.0
                if 0.0 < at < size + 1.0:
                    k = min(int(at), size)
                    share *= weights[v]
                    right = share * (at - k)
                    to = (v * (size + 2) + k) * width
                    source = (i * columns + j) * width
                    push_vector(out, to, image, source, kind(share - right), kind(right), lanes)
