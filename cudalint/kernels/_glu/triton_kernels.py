"""Gated units in Triton, element by element. Imported by the first launch on a GPU, never before.

Bytes: forward reads gate and up and writes y (3N); backward reads dy, gate and up and writes dgate
and dup (5N).
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import exp, row_offset


@triton.jit
def _sigmoid(x, PRECISE: tl.constexpr):
    """σ(x) and 1 − σ(x), each without cancellation."""
    e = exp(-tl.abs(x), PRECISE)
    total = 1.0 + e
    large = tl.div_rn(tl.full(e.shape, 1.0, tl.float32), total) if PRECISE else 1.0 / total
    small = e * large
    return tl.where(x < 0.0, small, large), tl.where(x < 0.0, large, small)


@triton.jit
def _activated(x, KIND: tl.constexpr, PRECISE: tl.constexpr):
    """act(x) and its derivative; the compiler drops the one that is not used."""
    if KIND == "gelu":
        share = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        density = exp(-0.5 * x * x, PRECISE) * 0.3989422804014327
        slope = share + x * density
    elif KIND == "gelu_tanh":
        # 0.5 · (1 + tanh u) is σ(2u), with 2u = a · x + b · x³
        share, rest = _sigmoid(x * (1.5957691216057308 + 0.07135481627260025 * x * x), PRECISE)
        inner = 1.5957691216057308 + 0.21406444881780075 * x * x
        slope = share + x * share * rest * inner
    else:
        share, rest = _sigmoid(x, PRECISE)
        slope = share * (1.0 + x * rest)
    return x * share, slope


@triton.jit
def forward(
    gate_ptr,
    up_ptr,
    y_ptr,
    rows,
    cols,
    col_blocks,
    size1,
    size2,
    gs0,
    gs1,
    gs2,
    us0,
    us1,
    us2,
    ys0,
    ys1,
    ys2,
    LEVELS: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    PRECISE: tl.constexpr = y_ptr.dtype.element_ty == tl.float32
    number = tl.program_id(0)  # divided in 32 bits: 64 take as long as all the rest
    row = (number // col_blocks).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    col = (number % col_blocks).to(tl.int64) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    mask = (row < rows)[:, None] & (col < cols)  # [BLOCK_ROWS, BLOCK_COLS]
    gate_at = row_offset(row, size1, size2, gs0, gs1, gs2, LEVELS)[:, None] + col
    up_at = row_offset(row, size1, size2, us0, us1, us2, LEVELS)[:, None] + col
    gate = tl.load(gate_ptr + gate_at, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + up_at, mask=mask, other=0.0).to(tl.float32)
    active, _ = _activated(gate, KIND, PRECISE)
    y_at = row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)[:, None] + col
    tl.store(y_ptr + y_at, (active * up).to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def backward(
    dy_ptr,
    gate_ptr,
    up_ptr,
    dgate_ptr,
    dup_ptr,
    rows,
    cols,
    col_blocks,
    size1,
    size2,
    ds0,
    ds1,
    ds2,
    gs0,
    gs1,
    gs2,
    us0,
    us1,
    us2,
    dgs0,
    dgs1,
    dgs2,
    dus0,
    dus1,
    dus2,
    LEVELS: tl.constexpr,
    KIND: tl.constexpr,
    GATE_GRAD: tl.constexpr,
    UP_GRAD: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    PRECISE: tl.constexpr = dy_ptr.dtype.element_ty == tl.float32
    number = tl.program_id(0)  # divided in 32 bits: 64 take as long as all the rest
    row = (number // col_blocks).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    col = (number % col_blocks).to(tl.int64) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    mask = (row < rows)[:, None] & (col < cols)  # [BLOCK_ROWS, BLOCK_COLS]
    dy_at = row_offset(row, size1, size2, ds0, ds1, ds2, LEVELS)[:, None] + col
    gate_at = row_offset(row, size1, size2, gs0, gs1, gs2, LEVELS)[:, None] + col
    dy = tl.load(dy_ptr + dy_at, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + gate_at, mask=mask, other=0.0).to(tl.float32)
    active, slope = _activated(gate, KIND, PRECISE)
    if GATE_GRAD:
        up_at = row_offset(row, size1, size2, us0, us1, us2, LEVELS)[:, None] + col
        up = tl.load(up_ptr + up_at, mask=mask, other=0.0).to(tl.float32)
        dgate_at = row_offset(row, size1, size2, dgs0, dgs1, dgs2, LEVELS)[:, None] + col
        dgate = (dy * up * slope).to(dgate_ptr.dtype.element_ty)
        tl.store(dgate_ptr + dgate_at, dgate, mask=mask)
    if UP_GRAD:
        dup_at = row_offset(row, size1, size2, dus0, dus1, dus2, LEVELS)[:, None] + col
        tl.store(dup_ptr + dup_at, (dy * active).to(dup_ptr.dtype.element_ty), mask=mask)
