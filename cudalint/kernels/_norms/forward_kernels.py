"""The norms with what stands round them, forward, in Triton. Imported by the first launch.

A row is held whole: x, and residual where there is one, are read once; y, and the sum h, written.
Scale, shift and gate are [groups, cols]: one row of them for `group_rows` rows of x, or with
PER_ROW one for each. Results are contiguous. What a call lacks gets x's pointer.

Means are products with `inverse_cols`: of one column that is exact, where the device's quick division
would leave a rest for 1 / √eps to blow up.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root, row_offset


@triton.jit
def modulation(m_ptr, group, row, stride, col, mask, cols, PER_ROW: tl.constexpr):
    """A row of scale, shift or gate for all rows, or one for each; not widened."""
    if PER_ROW:
        m = tl.load(m_ptr + (row * stride)[:, None] + col[None, :], mask=mask, other=0.0)
    else:
        m = tl.load(m_ptr + group * stride + col, mask=col < cols, other=0.0)[None, :]
    return m


@triton.jit
def centred(h, mask, inverse_cols, PRECISE: tl.constexpr):
    """h less its row's mean, and the sum of squares of that.

    PRECISE: what rounding left in the first mean is taken off too, told by a sum that is free
    beside that of the squares; far from zero it would be most of the error. Of the squares it is
    nothing.
    """
    mean = tl.sum(h, axis=1) * inverse_cols
    h = tl.where(mask, h - mean[:, None], 0.0)
    squares = tl.sum(h * h, axis=1)
    if PRECISE:
        rest = tl.sum(h, axis=1) * inverse_cols
        h = tl.where(mask, h - rest[:, None], 0.0)
    return h, squares


@triton.jit
def rounded(normed, ROUND: tl.constexpr):
    """norm(h) as the weight meets it: 0: as it is, 1: float16, 2: bfloat16."""
    if ROUND == 1:
        normed = normed.to(tl.float16).to(tl.float32)
    if ROUND == 2:
        normed = normed.to(tl.bfloat16).to(tl.float32)
    return normed


@triton.jit
def forward(
    x_ptr,
    r_ptr,
    g_ptr,
    w_ptr,
    b_ptr,
    s_ptr,
    t_ptr,
    y_ptr,
    h_ptr,
    group_rows,
    group_blocks,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    rs0,
    rs1,
    rs2,
    g_stride,
    s_stride,
    t_stride,
    inverse_cols,
    eps,
    weight_offset,
    scale_offset,
    LEVELS: tl.constexpr,
    NORM: tl.constexpr,
    LAYER: tl.constexpr,
    ROUND: tl.constexpr,
    RESIDUAL: tl.constexpr,
    GATE: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    SCALE: tl.constexpr,
    SHIFT: tl.constexpr,
    PER_ROW: tl.constexpr,
    PRECISE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64) // group_blocks
    inside = tl.program_id(0) % group_blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row = group * group_rows + inside
    col = tl.arange(0, BLOCK_COLS)
    mask = (inside < group_rows)[:, None] & (col < cols)[None, :]
    x_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None] + col[None, :]
    at = (row * cols)[:, None] + col[None, :]
    h = tl.load(x_ptr + x_at, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_ROWS, BLOCK_COLS]
    if RESIDUAL:
        r_at = row_offset(row, size1, size2, rs0, rs1, rs2, LEVELS)[:, None] + col[None, :]
        residual = tl.load(r_ptr + r_at, mask=mask, other=0.0).to(tl.float32)
        if GATE:
            h *= modulation(g_ptr, group, row, g_stride, col, mask, cols, PER_ROW).to(tl.float32)
        stored = (residual + h).to(h_ptr.dtype.element_ty)
        tl.store(h_ptr + at, stored, mask=mask)
        h = stored.to(tl.float32)
    if NORM:
        if LAYER:
            h, squares = centred(h, mask, inverse_cols, PRECISE)
        else:
            squares = tl.sum(h * h, axis=1)
        y = h * inverse_root(squares * inverse_cols + eps, PRECISE)[:, None]
        y = rounded(y, ROUND)
        if WEIGHT:
            w = tl.load(w_ptr + col, mask=col < cols, other=0.0).to(tl.float32)
            y *= (w + weight_offset)[None, :]
        if BIAS:
            y += tl.load(b_ptr + col, mask=col < cols, other=0.0).to(tl.float32)[None, :]
        if SCALE:
            s = modulation(s_ptr, group, row, s_stride, col, mask, cols, PER_ROW)
            y *= s.to(tl.float32) + scale_offset
        if SHIFT:
            y += modulation(t_ptr, group, row, t_stride, col, mask, cols, PER_ROW).to(tl.float32)
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=mask)
