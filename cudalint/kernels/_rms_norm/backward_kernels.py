"""RMSNorm backward in Triton. Imported by the first launch on a GPU, never before.

With r = 1/√(mean x² + eps), x̂ = x·r and g = dy·weight: dx = r·(g − x̂·mean(g·x̂)), and dweight is the
sum of dy·x̂ over the rows. Bytes: reads dy and x and writes dx (3N). The sum of squares is made again
from the row that is read anyway. Each program sums dweight over its rows into a part of its own,
float32 [programs, cols]; `sum_parts` adds the parts up in a fixed order.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root, row_offset


@triton.jit
def backward_short(
    dy_ptr,
    x_ptr,
    w_ptr,
    dx_ptr,
    dw_ptr,
    rows,
    cols,
    size1,
    size2,
    ds0,
    ds1,
    ds2,
    xs0,
    xs1,
    xs2,
    gs0,
    gs1,
    gs2,
    eps,
    weight_offset,
    LEVELS: tl.constexpr,
    LATE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    X_GRAD: tl.constexpr,
    W_GRAD: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Whole rows in registers; each program takes every `num_programs`-th block of rows."""
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    col = tl.arange(0, BLOCK_COLS)
    if HAS_WEIGHT:
        w = tl.load(w_ptr + col, mask=col < cols, other=0.0)  # not widened: half the registers
    if W_GRAD:
        dw = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    blocks = tl.cdiv(rows, BLOCK_ROWS)
    # the next rows are on their way into shared memory: 1.2 to 1.4 times as fast with three stages
    for block in tl.range(tl.program_id(0), blocks, tl.num_programs(0), num_stages=STAGES):
        row = tl.full([1], block, tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        mask = (row < rows)[:, None] & (col < cols)[None, :]
        x_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None] + col[None, :]
        dy_at = row_offset(row, size1, size2, ds0, ds1, ds2, LEVELS)[:, None] + col[None, :]
        x = tl.load(x_ptr + x_at, mask=mask, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + dy_at, mask=mask, other=0.0).to(tl.float32)
        squares = tl.sum(x * x, axis=1)
        if X_GRAD:  # both sums at once: after one another they cost 5 to 15 %
            g = dy
            if HAS_WEIGHT:
                factor = w.to(tl.float32)[None, :]
                g = dy * (factor + weight_offset) if LATE else dy * factor
            products = tl.sum(g * x, axis=1)
        r = inverse_root(squares / cols + eps, PRECISE)[:, None]
        normed = x * r
        if X_GRAD:
            mean = r * products[:, None] / cols
            dx = (r * (g - normed * mean)).to(dx_ptr.dtype.element_ty)
            dx_at = row_offset(row, size1, size2, gs0, gs1, gs2, LEVELS)[:, None] + col[None, :]
            tl.store(dx_ptr + dx_at, dx, mask=mask)
        if W_GRAD:
            if not LATE:
                normed = normed.to(x_ptr.dtype.element_ty).to(tl.float32)
            # rows past the end hold x = 0, and r is inf there where eps is 0
            dw += tl.where(mask, dy * normed, 0.0)
    if W_GRAD:
        part = dw_ptr + tl.program_id(0).to(tl.int64) * cols
        tl.store(part + col, tl.sum(dw, axis=0), mask=col < cols)


@triton.jit
def backward_long(
    dy_ptr,
    x_ptr,
    w_ptr,
    dx_ptr,
    dw_ptr,
    rows,
    cols,
    size1,
    size2,
    ds0,
    ds1,
    ds2,
    xs0,
    xs1,
    xs2,
    gs0,
    gs1,
    gs2,
    eps,
    weight_offset,
    LEVELS: tl.constexpr,
    LATE: tl.constexpr,
    HAS_WEIGHT: tl.constexpr,
    X_GRAD: tl.constexpr,
    W_GRAD: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Blocks of columns, twice: sums first, gradients second, when x and dy are in the L2 cache.

    A program owns its row of dw's parts and adds to it; the caller fills it with zeros.
    """
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    part = dw_ptr + tl.program_id(0).to(tl.int64) * cols
    for block in range(tl.program_id(0), tl.cdiv(rows, BLOCK_ROWS), tl.num_programs(0)):
        row = tl.full([1], block, tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        x_row = (x_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS))[:, None]
        dy_row = (dy_ptr + row_offset(row, size1, size2, ds0, ds1, ds2, LEVELS))[:, None]
        dx_row = (dx_ptr + row_offset(row, size1, size2, gs0, gs1, gs2, LEVELS))[:, None]
        squares = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        products = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        for start in range(0, cols, BLOCK_COLS):
            col = (start + tl.arange(0, BLOCK_COLS))[None, :]
            mask = (row < rows)[:, None] & (col < cols)
            x = tl.load(x_row + col, mask=mask, other=0.0, eviction_policy="evict_last")
            x = x.to(tl.float32)
            squares += x * x
            if X_GRAD:
                dy = tl.load(dy_row + col, mask=mask, other=0.0, eviction_policy="evict_last")
                g = dy.to(tl.float32)
                if HAS_WEIGHT:
                    w = tl.load(w_ptr + col, mask=col < cols, other=0.0).to(tl.float32)
                    g = g * (w + weight_offset) if LATE else g * w
                products += g * x
        r = inverse_root(tl.sum(squares, axis=1) / cols + eps, PRECISE)[:, None]
        mean = r * (tl.sum(products, axis=1) / cols)[:, None]
        for start in range(0, cols, BLOCK_COLS):
            col = (start + tl.arange(0, BLOCK_COLS))[None, :]
            mask = (row < rows)[:, None] & (col < cols)
            x = tl.load(x_row + col, mask=mask, other=0.0, eviction_policy="evict_first")
            dy = tl.load(dy_row + col, mask=mask, other=0.0, eviction_policy="evict_first")
            normed = x.to(tl.float32) * r
            dy = dy.to(tl.float32)
            if X_GRAD:
                g = dy
                if HAS_WEIGHT:
                    w = tl.load(w_ptr + col, mask=col < cols, other=0.0).to(tl.float32)
                    g = g * (w + weight_offset) if LATE else g * w
                dx = r * (g - normed * mean)
                tl.store(dx_row + col, dx.to(dx_ptr.dtype.element_ty), mask=mask)
            if W_GRAD:
                if not LATE:
                    normed = normed.to(x_ptr.dtype.element_ty).to(tl.float32)
                added = tl.sum(tl.where(mask, dy * normed, 0.0), axis=0)[None, :]
                before = tl.load(part + col, mask=col < cols, other=0.0)
                tl.store(part + col, before + added, mask=col < cols)
        tl.debug_barrier()  # the next rows are added by other threads where lanes are replicated


@triton.jit
def sum_parts(
    parts_ptr,
    out_ptr,
    parts,
    cols,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """The column sums of [parts, cols], in the order of the parts."""
    col = tl.program_id(0).to(tl.int64) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)
    total = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for start in range(0, parts, BLOCK_ROWS):
        part = start + tl.arange(0, BLOCK_ROWS)
        mask = (part < parts)[:, None] & (col < cols)[None, :]
        at = part.to(tl.int64)[:, None] * cols + col[None, :]
        total += tl.load(parts_ptr + at, mask=mask, other=0.0)
    out = tl.sum(total, axis=0).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + col, out, mask=col < cols)
