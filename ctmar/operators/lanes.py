"""Two SIMD primitives and the two compiled kernels that every native map is made of.

A batch is interleaved as *lanes*: arrays are ``(line, element, lane)``, so that one ray's
coefficients serve all slices of the batch and each step is a vector operation. The lane count is
the length of a tuple argument (its type), which keeps one cached kernel per width and precision.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _vectors(
    context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: int, count: int
) -> list:
    """Pointers to ``count`` consecutive vectors of ``lanes`` elements from ``array.flat[index]`` on."""
    element = context.get_data_type(array_type.dtype)
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [index])
    vector = ir.VectorType(element, lanes)
    pointer = builder.bitcast(first, vector.as_pointer())
    return [builder.gep(pointer, [ir.Constant(ir.IntType(64), n)]) for n in range(count)]


def _broadcast(builder: Any, scalar: Any, lanes: int) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)


def _multiply_add(builder: Any, vector: Any, scalar: Any, total: Any, lanes: int) -> Any:
    """``vector * scalar + total``, fused where the processor can."""
    product = builder.fmul(vector, _broadcast(builder, scalar, lanes), flags=("contract",))
    return builder.fadd(product, total, flags=("contract",))


def _signature(to: Any, source: Any, lanes: Any) -> Any:
    scalar = to.dtype
    return types.void(to, types.intp, source, types.intp, scalar, scalar, lanes)


@intrinsic
def _pull(typing_context, to, i, source, k, w0, w1, lanes):  # type: ignore[no-untyped-def]
    """``to[i] += w0 * source[k] + w1 * source[k + 1]`` on vectors; i and k count scalars."""
    width = lanes.count

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        align = context.get_abi_sizeof(context.get_data_type(to.dtype))
        (out,) = _vectors(context, builder, to, args[0], args[1], width, 1)
        left, right = _vectors(context, builder, source, args[2], args[3], width, 2)
        total = builder.load(out, align=align)
        for pointer, weight in ((left, args[4]), (right, args[5])):
            value = builder.load(pointer, align=align)
            total = _multiply_add(builder, value, weight, total, width)
        builder.store(total, out, align=align)
        return context.get_dummy_value()

    return _signature(to, source, lanes), generate


@intrinsic
def _push(typing_context, to, k, source, i, w0, w1, lanes):  # type: ignore[no-untyped-def]
    """``to[k] += w0 * source[i]; to[k + 1] += w1 * source[i]`` on vectors: the transpose of ``_pull``."""
    width = lanes.count

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        align = context.get_abi_sizeof(context.get_data_type(to.dtype))
        (value_at,) = _vectors(context, builder, source, args[2], args[3], width, 1)
        value = builder.load(value_at, align=align)
        for pointer, weight in zip(
            _vectors(context, builder, to, args[0], args[1], width, 2), args[4:6], strict=True
        ):
            total = _multiply_add(builder, value, weight, builder.load(pointer, align=align), width)
            builder.store(total, pointer, align=align)
        return context.get_dummy_value()

    return _signature(to, source, lanes), generate


FRACTION_BITS = 40
ONE = 1 << FRACTION_BITS
"""Coordinates are fixed-point numbers: exact in steps, so that both kernels see the very same weights,
2⁻⁴⁰ of an element fine, and several times cheaper to split into element and weight than a float."""


@njit(nogil=True, cache=True, inline="always")
def _inside(start, step, count, size):  # type: ignore[no-untyped-def]
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


@njit(nogil=True, cache=True)
def pull(out, source, offset, per_line, per_element, weight, by_view, first, last, block, lanes):  # type: ignore[no-untyped-def]
    """``out[o, n] += Σ_s weight · lerp(source[s], c)`` for outer lines o in [first, last).

    Args:
        out: ``(outer, elements, lanes)``.
        source: ``(inner, size + 2, lanes)``, a zero element at both ends of each line.
        offset: The table's columns (``ctmar.operators.lines``), one entry a view.
        per_line: As above.
        per_element: As above.
        weight: As above.
        by_view: True where the outer index is the view, False where the inner one is.
        first: First outer line of this task.
        last: One past its last.
        block: Inner lines worked on while they stay in cache.
        lanes: A tuple with as many entries as lanes.
    """
    width, count, size = len(lanes), out.shape[1], source.shape[1] - 2
    inner, kind = source.shape[0], out.dtype.type
    for block_start in range(0, inner, block):
        block_end = min(block_start + block, inner)
        for o in range(first, last):
            for s in range(block_start, block_end):
                v, line = (o, s) if by_view else (s, o)
                # 1 more than the table has it: the zero element in front.
                start = np.int64(round((offset[v] + per_line[v] * line + 1.0) * ONE))
                step = np.int64(round(per_element[v] * ONE))
                low, high = _inside(start, step, count, size)
                full, per_bit = kind(weight[v]), kind(weight[v] / ONE)
                c, base = start + step * low, s * (size + 2)
                for n in range(o * count + low, o * count + high):
                    right = kind(c & (ONE - 1)) * per_bit
                    k = base + (c >> FRACTION_BITS)
                    _pull(out, n * width, source, k * width, full - right, right, lanes)
                    c += step


@njit(nogil=True, cache=True)
def push(out, source, offset, per_line, per_element, weight, by_view, first, last, block, lanes):  # type: ignore[no-untyped-def]
    """``out[o] += lerpᵀ(weight · source[s, n], c)`` for outer lines o: the transpose of :func:`pull`.

    Here ``out`` is ``(outer, size + 2, lanes)`` with its two ends to be dropped, and ``source``
    ``(inner, elements, lanes)``; ``by_view`` and the table mean what they mean in :func:`pull`.
    """
    width, count, size = len(lanes), source.shape[1], out.shape[1] - 2
    inner, kind = source.shape[0], out.dtype.type
    for block_start in range(first, last, block):
        block_end = min(block_start + block, last)
        for s in range(inner):
            for o in range(block_start, block_end):
                v, line = (o, s) if by_view else (s, o)
                start = np.int64(round((offset[v] + per_line[v] * line + 1.0) * ONE))
                step = np.int64(round(per_element[v] * ONE))
                low, high = _inside(start, step, count, size)
                full, per_bit = kind(weight[v]), kind(weight[v] / ONE)
                c, to = start + step * low, o * (size + 2)
                for n in range(s * count + low, s * count + high):
                    right = kind(c & (ONE - 1)) * per_bit
                    k = to + (c >> FRACTION_BITS)
                    _push(out, k * width, source, n * width, full - right, right, lanes)
                    c += step
