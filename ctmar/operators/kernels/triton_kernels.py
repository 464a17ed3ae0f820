"""The two Triton kernels that every CUDA map is made of: one interpolates, one is its transpose.

Both gather (each output element is written once, by one program, in a fixed order: no atomics,
deterministic). Coordinates are fixed-point int64 with :data:`FRACTION_BITS` fractional bits: adding
them is exact, so that a sample has the same coordinate, bit for bit, in a map and in its transpose,
whatever the blocks, and float64 units (a 64th of the speed on many GPUs) stay out of the loops.
float32 coordinates would be off by 8e-5 of the result at 512 pixels.

Importing this module imports triton; whether the kernels are compiled or interpreted
(``TRITON_INTERPRET=1``) is fixed by then.
"""

import triton
import triton.language as tl

FRACTION_BITS = tl.constexpr(32)
"""Also the width of the low word, from which a coordinate's fraction is read."""
ONE = tl.constexpr(1 << 32)
UNIT = tl.constexpr(2.0**-32)
TABLE_COLUMNS = tl.constexpr(4)
FIRST_COLUMNS = tl.constexpr(3)


@triton.jit
def pull(
    out,
    source,
    table,
    weight,
    batch,
    num_outer,
    num_inner,
    out_rows,
    source_rows,
    num_elements,
    size,
    BY_VIEW: tl.constexpr,
    BLOCK: tl.constexpr,
    SLICES: tl.constexpr,
):
    """``out[b, o, n] = Σ_s weight · lerp(source[b, s], c)``; program (o and slices, block of n).

    Args:
        out: ``(batch, out_rows, num_elements)``, contiguous.
        source: ``(batch, source_rows, size)``, contiguous; zero outside.
        table: int64 ``(views, 4)``: place in the sinogram, then offset, per_line and per_element
            (``ctmar.operators.parallel.lines``) in fixed point.
        weight: ``(views,)``.
        batch: Slices.
        num_outer: Output rows to compute: views of the table where ``BY_VIEW``, else lines.
        num_inner: Source rows to sum over: lines where ``BY_VIEW``, else views of the table.
        out_rows: Rows of one slice of ``out``.
        source_rows: Rows of one slice of ``source``.
        num_elements: Elements of an output row.
        size: Elements of a source row.
        BY_VIEW: Whether the outer index is the view, or the inner one.
        BLOCK: Output elements a program computes.
        SLICES: Slices a program computes; they share the coordinates.
    """
    outer = tl.program_id(0) % num_outer
    b = ((tl.program_id(0) // num_outer) * SLICES + tl.arange(0, SLICES)).to(tl.int64)[:, None]
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = (b < batch) & (n < num_elements)[None, :]
    slices = source + b * (source_rows * size)
    total = tl.zeros((SLICES, BLOCK), out.dtype.element_ty)
    for inner in range(num_inner):
        view, line = (outer, inner) if BY_VIEW else (inner, outer)
        row = table + view * TABLE_COLUMNS
        from_row = inner if BY_VIEW else tl.load(row).to(tl.int32)
        c = tl.load(row + 1) + tl.load(row + 2) * line + tl.load(row + 3) * n
        k = (c >> FRACTION_BITS).to(tl.int32)
        w = tl.load(weight + view).to(total.dtype)
        right = c.to(tl.uint32).to(total.dtype) * UNIT * w
        left = w - right
        at = slices + (from_row * size + k)[None, :]
        in_left, in_right = (k >= 0) & (k < size), (k >= -1) & (k < size - 1)
        total += left[None, :] * tl.load(at, live & in_left[None, :], 0.0)
        total += right[None, :] * tl.load(at + 1, live & in_right[None, :], 0.0)
    to_row = tl.load(table + outer * TABLE_COLUMNS) if BY_VIEW else outer
    tl.store(out + (b * out_rows + to_row) * num_elements + n[None, :], total, live)


@triton.jit
def push(
    out,
    source,
    table,
    first,
    weight,
    batch,
    num_outer,
    num_inner,
    out_rows,
    source_rows,
    num_elements,
    size,
    CANDIDATES: tl.constexpr,
    BY_VIEW: tl.constexpr,
    BLOCK: tl.constexpr,
    SLICES: tl.constexpr,
):
    """``out[b, o, k] = Σ_s weight · Σ_n hat(c_n - k) source[b, s, n]``: the transpose of :func:`pull`.

    Instead of scattering, each output element visits the few samples whose hat function
    ``1 - |c_n - k|`` reaches it: ``CANDIDATES`` from the first on.

    Args:
        out: ``(batch, out_rows, size)``, contiguous.
        source: ``(batch, source_rows, num_elements)``, contiguous.
        table: As in :func:`pull`.
        first: int64 ``(views, 3)``: offset, per line and per k of the first sample n whose hat may
            reach k, in fixed point (the table solved for n).
        weight: ``(views,)``.
        batch: Slices.
        num_outer: As in :func:`pull`.
        num_inner: As in :func:`pull`.
        out_rows: Rows of one slice of ``out``.
        source_rows: Rows of one slice of ``source``.
        num_elements: Elements of a source row.
        size: Elements of an output row.
        CANDIDATES: Samples to visit.
        BY_VIEW: As in :func:`pull`.
        BLOCK: As in :func:`pull`.
        SLICES: As in :func:`pull`.
    """
    outer = tl.program_id(0) % num_outer
    b = ((tl.program_id(0) // num_outer) * SLICES + tl.arange(0, SLICES)).to(tl.int64)[:, None]
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = (b < batch) & (k < size)[None, :]
    slices = source + b * (source_rows * num_elements)
    total = tl.zeros((SLICES, BLOCK), out.dtype.element_ty)
    for inner in range(num_inner):
        view, line = (outer, inner) if BY_VIEW else (inner, outer)
        row, guess = table + view * TABLE_COLUMNS, first + view * FIRST_COLUMNS
        from_row = inner if BY_VIEW else tl.load(row).to(tl.int32)
        n = tl.load(guess) + tl.load(guess + 1) * line + tl.load(guess + 2) * k
        n = (n >> FRACTION_BITS).to(tl.int32)
        step = tl.load(row + 3)
        apart = tl.load(row + 1) + tl.load(row + 2) * line + step * n - (k.to(tl.int64) << FRACTION_BITS)
        w = tl.load(weight + view).to(total.dtype)
        at = slices + (from_row * num_elements + n)[None, :]
        for candidate in tl.static_range(CANDIDATES):
            gap = tl.abs(apart + step * candidate)
            reaches = (gap < ONE) & (n + candidate >= 0) & (n + candidate < num_elements)
            hat = w - gap.to(tl.uint32).to(total.dtype) * UNIT * w
            total += hat[None, :] * tl.load(at + candidate, live & reaches[None, :], 0.0)
    to_row = tl.load(table + outer * TABLE_COLUMNS) if BY_VIEW else outer
    tl.store(out + (b * out_rows + to_row) * size + k[None, :], total, live)
