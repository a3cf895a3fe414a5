"""RMSNorm backward for rows that are too long to be held beside their weight's gradient.

The formulas are those of `backward_kernels`; dy, x and dx are contiguous. Imported by the first
launch on a GPU, never before.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator, assignment"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root


@triton.jit
def _load(pointer, KEEP: tl.constexpr):
    """float32; KEEP where it is read once more and should stay in the L2 cache."""
    return tl.load(pointer, eviction_policy="evict_last" if KEEP else "evict_first").to(tl.float32)


@triton.jit
def _factor(w_ptr, col, weight_offset, LATE: tl.constexpr):
    """What x̂ is multiplied by."""
    w = _load(w_ptr + col, True)
    return w + weight_offset if LATE else w


@triton.jit
def _add_sums(dy, x, factor, squares, products):
    return squares + x * x, products + dy * factor * x


@triton.jit
def _row_sums(
    dy_ptr,
    x_ptr,
    w_ptr,
    here,
    cols,
    weight_offset,
    LATE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Σ x² and Σ g·x of a row, one of each a lane."""
    squares = tl.zeros([CHUNK], tl.float32)
    products = tl.zeros([CHUNK], tl.float32)
    for start in range(0, cols, CHUNK):
        col = start + tl.arange(0, CHUNK)
        x = _load(x_ptr + here + col, True)
        dy = _load(dy_ptr + here + col, True)
        factor = _factor(w_ptr, col, weight_offset, LATE)
        squares, products = _add_sums(dy, x, factor, squares, products)
    return squares, products


@triton.jit
def _chunk(
    dy_ptr,
    x_ptr,
    w_ptr,
    dx_ptr,
    here,
    there,
    more,
    start,
    cols,
    weight_offset,
    r,
    mean,
    dw,
    squares,
    products,
    LATE: tl.constexpr,
    X_GRAD: tl.constexpr,
    CHUNK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """The gradients of one chunk of the row `here`; with AHEAD also the sums of that `there`."""
    col = start + tl.arange(0, CHUNK)
    if AHEAD:
        mask = (col < cols) & more
        next_x = tl.load(x_ptr + there + col, mask=mask, other=0.0, eviction_policy="evict_last")
        next_dy = tl.load(dy_ptr + there + col, mask=mask, other=0.0, eviction_policy="evict_last")
    x = _load(x_ptr + here + col, False)
    dy = _load(dy_ptr + here + col, False)
    factor = _factor(w_ptr, col, weight_offset, LATE)
    normed = x * r
    if X_GRAD:
        dx = (r * (dy * factor - normed * mean)).to(dx_ptr.dtype.element_ty)
        tl.store(dx_ptr + here + col, dx, eviction_policy="evict_first")
    if not LATE:
        normed = normed.to(x_ptr.dtype.element_ty).to(tl.float32)
    dw = dw + dy * normed
    if AHEAD:
        squares, products = _add_sums(
            next_dy.to(tl.float32), next_x.to(tl.float32), factor, squares, products
        )
    return dw, squares, products


@triton.jit
def backward_chunks(
    dy_ptr,
    x_ptr,
    w_ptr,
    dx_ptr,
    dw_ptr,
    rows,
    cols,
    eps,
    weight_offset,
    LATE: tl.constexpr,
    X_GRAD: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """Rows of CHUNKS chunks: dweight alone stays in registers, rows are read twice.

    The second time they come from the L2 cache. With AHEAD the first reading of the next row goes
    along with the second of this one, so that memory never waits for a row's sums. cols is CHUNKS ·
    CHUNK, so that no register goes into masks. (Triton knows no starred tuples: hence `+`.)
    """
    step = tl.num_programs(0)
    first = tl.program_id(0)
    squares = tl.zeros([CHUNK], tl.float32)
    products = tl.zeros([CHUNK], tl.float32)
    if AHEAD:
        squares, products = _row_sums(
            dy_ptr, x_ptr, w_ptr, first.to(tl.int64) * cols, cols, weight_offset,
            LATE, CHUNK,
        )  # fmt: skip
    dw = ()
    for _ in tl.static_range(CHUNKS):
        dw = dw + (tl.zeros([CHUNK], tl.float32),)  # noqa: RUF005
    for row in range(first, rows, step):
        here = tl.full([], row, tl.int64) * cols
        there = here + step.to(tl.int64) * cols
        if not AHEAD:
            squares, products = _row_sums(
                dy_ptr, x_ptr, w_ptr, here, cols, weight_offset, LATE, CHUNK
            )
        r = inverse_root(tl.sum(squares, axis=0) / cols + eps, False)
        mean = r * tl.sum(products, axis=0) / cols
        squares = tl.zeros([CHUNK], tl.float32)
        products = tl.zeros([CHUNK], tl.float32)
        added = ()
        for i in tl.static_range(CHUNKS):
            part, squares, products = _chunk(
                dy_ptr, x_ptr, w_ptr, dx_ptr, here, there, row + step < rows, i * CHUNK, cols,
                weight_offset, r, mean, dw[i], squares, products,
                LATE, X_GRAD, CHUNK, AHEAD,
            )  # fmt: skip
            added = added + (part,)  # noqa: RUF005
        dw = added
    part = dw_ptr + first.to(tl.int64) * cols
    for i in tl.static_range(CHUNKS):
        col = i * CHUNK + tl.arange(0, CHUNK)
        # never false, but without it ptxas spills 8 bytes on sm_90
        tl.store(part + col, dw[i], mask=col < cols)
