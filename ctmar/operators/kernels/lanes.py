"""Two SIMD primitives and the two compiled kernels that every native map is made of.

A batch is interleaved as *lanes*: arrays are ``(line, element, lane)``, so that one ray's
coefficients serve all slices of the batch and each step is a vector operation. The lane count is
the length of a tuple argument (its type), which keeps one cached kernel per width and precision.

The primitives serve :mod:`ctmar.operators.kernels.fan_kernels` too. numba's cache looks for changes in a
kernel's own file alone: after a change of a primitive, clear ``__pycache__``.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


def vectors_at(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int, count: int
) -> list:
    """Pointers to ``count`` consecutive vectors of ``lanes`` elements from ``array.flat[index]`` on."""
    element = context.get_data_type(array_type.dtype)
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [index])
    vector = ir.VectorType(element, lanes)
    pointer = builder.bitcast(first, vector.as_pointer())
    return [builder.gep(pointer, [ir.Constant(ir.IntType(64), n)]) for n in range(count)]


def broadcast(builder: Any, scalar: Any, lanes: int) -> Any:
    """A vector that holds ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)


def multiply_add(builder: Any, vector: Any, scalar: Any, total: Any, lanes: int) -> Any:
    """``vector * scalar + total``, fused where the processor can."""
    product = builder.fmul(vector, broadcast(builder, scalar, lanes), flags=("contract",))
    return builder.fadd(product, total, flags=("contract",))


def _signature(to: Any, source: Any, lanes: Any) -> Any:
    scalar = to.dtype
    return types.void(to, types.intp, source, types.intp, scalar, scalar, lanes)


@intrinsic
def pull_vector(typing_context, to, i, source, k, w0, w1, lanes):
    """``to[i] += w0 * source[k] + w1 * source[k + 1]`` on vectors; i and k count scalars."""
    width = lanes.count

    def generate(context, builder, signature, args):
        align = context.get_abi_sizeof(context.get_data_type(to.dtype))
        (out,) = vectors_at(context, builder, to, args[0], args[1], width, 1)
        left, right = vectors_at(context, builder, source, args[2], args[3], width, 2)
        total = builder.load(out, align=align)
        for pointer, weight in ((left, args[4]), (right, args[5])):
            value = builder.load(pointer, align=align)
            total = multiply_add(builder, value, weight, total, width)
        builder.store(total, out, align=align)
        return context.get_dummy_value()

    return _signature(to, source, lanes), generate


@intrinsic
def push_vector(typing_context, to, k, source, i, w0, w1, lanes):
    """``to[k] += w0 * source[i]; to[k + 1] += w1 * source[i]`` on vectors; transpose of ``pull_vector``."""
    width = lanes.count

    def generate(context, builder, signature, args):
        align = context.get_abi_sizeof(context.get_data_type(to.dtype))
        (value_at,) = vectors_at(context, builder, source, args[2], args[3], width, 1)
        value = builder.load(value_at, align=align)
        for pointer, weight in zip(
            vectors_at(context, builder, to, args[0], args[1], width, 2), args[4:6], strict=True
        ):
            total = multiply_add(builder, value, weight, builder.load(pointer, align=align), width)
            builder.store(total, pointer, align=align)
        return context.get_dummy_value()

    return _signature(to, source, lanes), generate


FRACTION_BITS = 40
ONE = 1 << FRACTION_BITS
"""Coordinates are fixed-point numbers: exact in steps, so that both kernels see the very same weights,
2⁻⁴⁰ of an element fine, and several times cheaper to split into element and weight than a float."""


LINES = 8
"""Lines whose samples are added up in a register."""
AT_ONCE = 32
"""Samples of a line whose places are computed together."""


@njit(nogil=True, cache=True, inline="always")
def _sampling(first, step):
    """Place of the first sample and the step, fixed-point; counted from one element before the first."""
    return np.int64(round((first + 1.0) * ONE)), np.int64(round(step * ONE))


@njit(nogil=True, cache=True, inline="always")
def samples_inside(start, step, count, size):
    """First and past-last n in [0, count) with ``0 <= start + step * n < (size + 1) * ONE``."""
    end = (size + 1) * ONE
    if step > 0:
        low, high = -(start // step), -((start - end) // step)
    elif step < 0:
        low, high = (start - end) // -step + 1, start // -step + 1
    elif 0 <= start < end:
        low, high = 0, count
    else:
        low, high = 0, 0
    return max(low, 0), min(high, count)


MARGIN = 2
"""Zero elements that :func:`pull` needs at both ends of its source's lines."""


@intrinsic
def _sum_lines(typing_context, to, i, count, weight, source, index, right, lanes):
    """``to[i + n] += weight · Σ_l lerp(source[index[l, n]], right[l, n])`` for n in [0, count).

    ``i`` counts elements; ``index`` and ``right`` are ``(LINES, AT_ONCE)``.
    """
    width = lanes.count

    def generate(context, builder, signature, args):
        kind = context.get_data_type(to.dtype)
        align = context.get_abi_sizeof(kind)
        integer = ir.IntType(64)
        starts, shares = (
            context.make_array(array)(context, builder, value).data
            for array, value in zip(signature.args[5:7], args[5:7], strict=True)
        )
        with cgutils.for_range(builder, args[2]) as loop:
            # Two sums, so that an addition need not wait for the one before.
            sums = [ir.Constant(ir.VectorType(kind, width), [0.0] * width)] * 2
            for line in range(LINES):
                at = builder.add(loop.index, integer(line * AT_ONCE))
                start = builder.zext(builder.load(builder.gep(starts, [at])), integer)
                here = builder.mul(start, integer(width))
                a, b = (
                    builder.load(pointer, align=align)
                    for pointer in vectors_at(context, builder, source, args[4], here, width, 2)
                )
                share = builder.load(builder.gep(shares, [at]))
                value = multiply_add(builder, builder.fsub(b, a), share, a, width)
                sums = [sums[1], builder.fadd(sums[0], value)]
            at = builder.mul(builder.add(args[1], loop.index), integer(width))
            (out,) = vectors_at(context, builder, to, args[0], at, width, 1)
            value = multiply_add(builder, builder.fadd(*sums), args[3], builder.load(out, align=align), width)
            builder.store(value, out, align=align)
        return context.get_dummy_value()

    return types.void(to, types.intp, types.intp, to.dtype, source, index, right, lanes), generate


@njit(nogil=True, cache=True, inline="always")
def _places(index, right, start, step, base, end, unit):
    """Where samples lie on a line: the element before each and the share of the one behind it.

    ``base`` is the line's second element, from which places count; samples outside come to lie on its
    first two, which are zero. Always :data:`AT_ONCE` samples: with a fixed number, all of them go through
    vector instructions.
    """
    kind = right.dtype.type
    final = start + step * (AT_ONCE - 1)
    if 0 <= min(start, final) and max(start, final) < end:
        for n in range(AT_ONCE):
            c = start + step * n
            index[n] = np.uint32(base + (c >> FRACTION_BITS))
            right[n] = kind(c & (ONE - 1)) * unit
    else:
        for n in range(AT_ONCE):
            c = start + step * n
            inside = 0 <= c < end
            index[n] = np.uint32(base + (c >> FRACTION_BITS) if inside else base - 1)
            right[n] = kind(c & (ONE - 1)) * unit if inside else kind(0.0)


@njit(nogil=True, cache=True)
def pull(out, source, views, offset, per_line, per_element, weight, by_view, first, last, lanes):
    """``out[o, n] += weight[o] · Σ_s lerp(source[s], c)`` for outer lines o in [first, last).

    Args:
        out: ``(outer, elements, lanes)``.
        source: ``(inner, size + 2 MARGIN, lanes)``, zero in the margins.
        views: The table's columns (``ctmar.operators.parallel.lines``), one entry a view.
        offset: As above.
        per_line: As above.
        per_element: As above.
        weight: One entry an outer line.
        by_view: True where the outer index is the view, False where the inner one is.
        first: First outer line of this task.
        last: One past its last.
        lanes: A tuple with as many entries as lanes.
    """
    kind = out.dtype.type
    count, length, outer = out.shape[1], source.shape[1], last - first
    size = length - 2 * MARGIN
    inner = source.shape[0] if by_view else len(views)
    index, right = np.zeros((LINES, AT_ONCE), np.uint32), np.zeros((LINES, AT_ONCE), out.dtype)
    table = np.zeros((3, outer, LINES), np.int64)
    start, step, base = table[0], table[1], table[2]
    low, high = np.zeros(outer, np.int64), np.zeros(outer, np.int64)
    unit, end = kind(1.0 / ONE), (size + 1) * ONE
    for group in range(0, inner, LINES):
        for t in range(outer):
            o, low[t], high[t] = first + t, count, 0
            start[t], step[t], base[t] = -1, 0, 1
            for i in range(min(LINES, inner - group)):
                v, line = (o, group + i) if by_view else (group + i, o)
                start[t, i], step[t, i] = _sampling(offset[v] + per_line[v] * line, per_element[v])
                base[t, i] = (line if by_view else views[v]) * length + 1
                begin, past = samples_inside(start[t, i], step[t, i], count, size)
                if begin < past:
                    low[t], high[t] = min(low[t], begin), max(high[t], past)
        # A stretch of samples at a time, so that what they read stays in cache for the next outer line.
        for n in range(low.min(), high.max(), AT_ONCE):
            for t in range(outer):
                o, begin, past = first + t, max(n, low[t]), min(n + AT_ONCE, high[t])
                if begin < past:
                    for i in range(LINES):
                        c = start[t, i] + step[t, i] * begin
                        _places(index[i], right[i], c, step[t, i], base[t, i], end, unit)
                    to = (views[o] if by_view else o) * count + begin
                    _sum_lines(out, to, past - begin, kind(weight[o]), source, index, right, lanes)


@njit(nogil=True, cache=True)
def push(out, source, views, offset, per_line, per_element, weight, by_view, first, last, lanes):
    """``out[o] += lerpᵀ(weight · source[s, n], c)`` for outer lines o: the transpose of :func:`pull`.

    Here ``out`` is ``(outer, size + 2, lanes)`` with its two ends to be dropped, and ``source``
    ``(inner, elements, lanes)``; ``weight`` has one entry a view, the other arguments are those of
    :func:`pull`.
    """
    width, count, size = len(lanes), source.shape[1], out.shape[1] - 2
    kind = out.dtype.type
    inner = source.shape[0] if by_view else len(views)
    for s in range(inner):
        for o in range(first, last):
            v, line = (o, s) if by_view else (s, o)
            start, step = _sampling(offset[v] + per_line[v] * line, per_element[v])
            low, high = samples_inside(start, step, count, size)
            full, per_bit = kind(weight[v]), kind(weight[v] / ONE)
            c, to = start + step * low, (views[o] if by_view else o) * (size + 2)
            at = (line if by_view else views[v]) * count
            for n in range(at + low, at + high):
                right = kind(c & (ONE - 1)) * per_bit
                k = to + (c >> FRACTION_BITS)
                push_vector(out, k * width, source, n * width, full - right, right, lanes)
                c += step
