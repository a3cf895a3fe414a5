"""RMSNorm forward in Triton. Imported by the first launch on a GPU, never before.

Bytes: reads x and writes y (2N). Nothing is kept for the backward but x.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root, row_offset


@triton.jit
def forward_short(
    x_ptr,
    w_ptr,
    y_ptr,
    rows,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ys0,
    ys1,
    ys2,
    eps,
    weight_offset,
    LEVELS: tl.constexpr,
    LATE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Whole rows in registers: x is read once."""
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    col = tl.arange(0, BLOCK_COLS)
    mask = (row < rows)[:, None] & (col < cols)[None, :]
    x_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)
    stored = tl.load(x_ptr + x_at[:, None] + col[None, :], mask=mask, other=0.0)
    x = stored.to(tl.float32)  # [BLOCK_ROWS, BLOCK_COLS]
    r = inverse_root(tl.sum(x * x, axis=1) / cols + eps, PRECISE)
    normed = x * r[:, None]
    if not LATE:
        normed = normed.to(x_ptr.dtype.element_ty).to(tl.float32)
    if HAS_WEIGHT:
        w = tl.load(w_ptr + col, mask=col < cols, other=0.0).to(tl.float32)
        normed = normed * (w + weight_offset)[None, :] if LATE else normed * w[None, :]
    y_at = row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)
    y = normed.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + y_at[:, None] + col[None, :], y, mask=mask)


@triton.jit
def forward_long(
    x_ptr,
    w_ptr,
    y_ptr,
    rows,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ys0,
    ys1,
    ys2,
    eps,
    weight_offset,
    LEVELS: tl.constexpr,
    LATE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """One row a program, block by block, twice: the second time from the L2 cache."""
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    row = tl.program_id(0).to(tl.int64)
    x_row = x_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)
    y_row = y_ptr + row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)
    squares = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, cols, BLOCK_COLS):
        col = start + tl.arange(0, BLOCK_COLS)
        stored = tl.load(x_row + col, mask=col < cols, other=0.0, eviction_policy="evict_last")
        x = stored.to(tl.float32)
        squares += x * x
    r = inverse_root(tl.sum(squares, axis=0) / cols + eps, PRECISE)
    for start in range(0, cols, BLOCK_COLS):
        col = start + tl.arange(0, BLOCK_COLS)
        mask = col < cols
        stored = tl.load(x_row + col, mask=mask, other=0.0, eviction_policy="evict_first")
        normed = stored.to(tl.float32) * r
        if not LATE:
            normed = normed.to(x_ptr.dtype.element_ty).to(tl.float32)
        if HAS_WEIGHT:
            w = tl.load(w_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last")
            w = w.to(tl.float32)
            normed = normed * (w + weight_offset) if LATE else normed * w
        tl.store(y_row + col, normed.to(y_ptr.dtype.element_ty), mask=mask)
