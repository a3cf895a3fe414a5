"""The norms with what stands round them, backward, in Triton. Imported by the first launch.

With h the sum, less its mean in a layer norm, r = 1/√(mean h² + eps), x̂ = h·r, dn = dy·(scale_offset
+ scale) and g = dn·(weight_offset + weight): the sum's gradient is r·(g − x̂·mean(g·x̂)), in a layer
norm less r·mean(g), and dh on top. x's is that times gate.

What is the same for all rows, or for a group of them, gets a sum: each program keeps it in
registers and writes one part, [groups · programs, cols]; `sum_parts` adds the parts up in a fixed
order. With one program a group, or PER_ROW, the parts of gate, scale and shift are the gradients.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root, row_offset
from cudalint.kernels._norms.forward_kernels import centred, modulation, rounded


@triton.jit
def backward(
    dy_ptr,
    dh_ptr,
    h_ptr,
    x_ptr,
    g_ptr,
    w_ptr,
    b_ptr,
    s_ptr,
    dsum_ptr,
    dx_ptr,
    dg_ptr,
    dw_ptr,
    db_ptr,
    ds_ptr,
    dt_ptr,
    group_rows,
    programs,
    cols,
    size1,
    size2,
    ys0,
    ys1,
    ys2,
    hs0,
    hs1,
    hs2,
    xs0,
    xs1,
    xs2,
    g_stride,
    s_stride,
    inverse_cols,
    eps,
    weight_offset,
    scale_offset,
    LEVELS: tl.constexpr,
    NORM: tl.constexpr,
    LAYER: tl.constexpr,
    ROUND: tl.constexpr,
    DH: tl.constexpr,
    GATE: tl.constexpr,
    WEIGHT: tl.constexpr,
    BIAS: tl.constexpr,
    SCALE: tl.constexpr,
    PER_ROW: tl.constexpr,
    SUM_GRAD: tl.constexpr,
    X_GRAD: tl.constexpr,
    GATE_GRAD: tl.constexpr,
    WEIGHT_GRAD: tl.constexpr,
    BIAS_GRAD: tl.constexpr,
    SCALE_GRAD: tl.constexpr,
    SHIFT_GRAD: tl.constexpr,
    PRECISE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64) // programs
    col = tl.arange(0, BLOCK_COLS)
    if NORM and WEIGHT:
        w = tl.load(w_ptr + col, mask=col < cols, other=0.0)[
            None, :
        ]  # not widened: fewer registers
    if NORM and BIAS and SCALE_GRAD:
        b = tl.load(b_ptr + col, mask=col < cols, other=0.0)[None, :]
    if not PER_ROW:
        if NORM and SCALE:
            s = modulation(s_ptr, group, 0, s_stride, col, None, cols, False)
        if GATE:
            gate = modulation(g_ptr, group, 0, g_stride, col, None, cols, False)
    if GATE_GRAD and not PER_ROW:
        dg = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    if WEIGHT_GRAD:
        dw = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    if BIAS_GRAD:
        db = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    if SCALE_GRAD and not PER_ROW:
        ds = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    if SHIFT_GRAD and not PER_ROW:
        dt = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    blocks = tl.cdiv(group_rows, BLOCK_ROWS)
    for block in tl.range(tl.program_id(0) % programs, blocks, programs, num_stages=STAGES):
        inside = block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        row = group * group_rows + inside
        mask = (inside < group_rows)[:, None] & (col < cols)[None, :]
        at = (row * cols)[:, None] + col[None, :]
        dsum = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        if NORM:
            h_at = row_offset(row, size1, size2, hs0, hs1, hs2, LEVELS)[:, None] + col[None, :]
            y_at = row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)[:, None] + col[None, :]
            h = tl.load(h_ptr + h_at, mask=mask, other=0.0).to(tl.float32)
            dy = tl.load(dy_ptr + y_at, mask=mask, other=0.0).to(tl.float32)
            if PER_ROW and SCALE:
                s = modulation(s_ptr, group, row, s_stride, col, mask, cols, True)
            if LAYER:
                h, squares = centred(h, mask, inverse_cols, PRECISE)
            else:
                squares = tl.sum(h * h, axis=1)
            dn = dy
            if SCALE:
                dn = dy * (s.to(tl.float32) + scale_offset)
            g = dn
            if WEIGHT:
                g = dn * (w.to(tl.float32) + weight_offset)
            # beside the squares, in one exchange between threads
            products = tl.sum(g * h, axis=1)
            inner = g
            if LAYER:
                inner = g - (tl.sum(g, axis=1) * inverse_cols)[:, None]
            r = inverse_root(squares * inverse_cols + eps, PRECISE)
            normed = h * r[:, None]
            dsum = r[:, None] * (inner - normed * (r * products * inverse_cols)[:, None])
            normed = rounded(normed, ROUND)
        if DH:
            dsum += tl.load(dh_ptr + at, mask=mask, other=0.0).to(tl.float32)
        if SUM_GRAD:
            tl.store(dsum_ptr + at, dsum.to(dsum_ptr.dtype.element_ty), mask=mask)
        if PER_ROW and GATE:
            gate = modulation(g_ptr, group, row, g_stride, col, mask, cols, True)
        if X_GRAD:
            dx = dsum * gate.to(tl.float32)
            tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        # rows past the end hold h = 0, and r is inf there where eps is 0: hence tl.where
        if GATE_GRAD:
            x_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None] + col[None, :]
            x = tl.load(x_ptr + x_at, mask=mask, other=0.0).to(tl.float32)
            if PER_ROW:
                tl.store(dg_ptr + at, (dsum * x).to(dg_ptr.dtype.element_ty), mask=mask)
            else:
                dg += tl.where(mask, dsum * x, 0.0)
        if WEIGHT_GRAD:
            dw += tl.where(mask, dn * normed, 0.0)
        if BIAS_GRAD:
            db += dn
        if SCALE_GRAD:
            if WEIGHT:
                normed *= w.to(tl.float32) + weight_offset
            if BIAS:
                normed += b.to(tl.float32)
            if PER_ROW:
                tl.store(ds_ptr + at, (dy * normed).to(ds_ptr.dtype.element_ty), mask=mask)
            else:
                ds += tl.where(mask, dy * normed, 0.0)
        if SHIFT_GRAD:
            if PER_ROW:
                tl.store(dt_ptr + at, dy.to(dt_ptr.dtype.element_ty), mask=mask)
            else:
                dt += dy
    part = tl.program_id(0).to(tl.int64) * cols + col
    if GATE_GRAD and not PER_ROW:
        tl.store(dg_ptr + part, tl.sum(dg, axis=0).to(dg_ptr.dtype.element_ty), mask=col < cols)
    if WEIGHT_GRAD:
        tl.store(dw_ptr + part, tl.sum(dw, axis=0), mask=col < cols)
    if BIAS_GRAD:
        tl.store(db_ptr + part, tl.sum(db, axis=0), mask=col < cols)
    if SCALE_GRAD and not PER_ROW:
        tl.store(ds_ptr + part, tl.sum(ds, axis=0).to(ds_ptr.dtype.element_ty), mask=col < cols)
    if SHIFT_GRAD and not PER_ROW:
        tl.store(dt_ptr + part, tl.sum(dt, axis=0).to(dt_ptr.dtype.element_ty), mask=col < cols)


@triton.jit
def sum_parts(
    parts_ptr,
    out0_ptr,
    out1_ptr,
    out2_ptr,
    groups,
    parts,
    cols,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Of up to three [groups, parts, cols] one behind another: sums over the parts, in their order."""
    column_blocks = tl.cdiv(cols, BLOCK_COLS)
    group = tl.program_id(0).to(tl.int64) // column_blocks
    col = tl.program_id(0) % column_blocks * BLOCK_COLS + tl.arange(0, BLOCK_COLS)
    total = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for start in range(0, parts, BLOCK_ROWS):
        part = start + tl.arange(0, BLOCK_ROWS)
        mask = (part < parts)[:, None] & (col < cols)[None, :]
        at = (group * parts + part)[:, None] * cols + col[None, :]
        total += tl.load(parts_ptr + at, mask=mask, other=0.0)
    out = tl.sum(total, axis=0)
    at = group % groups * cols + col
    which = group // groups
    if which == 0:
        tl.store(out0_ptr + at, out.to(out0_ptr.dtype.element_ty), mask=col < cols)
    elif which == 1:
        tl.store(out1_ptr + at, out.to(out1_ptr.dtype.element_ty), mask=col < cols)
    else:
        tl.store(out2_ptr + at, out.to(out2_ptr.dtype.element_ty), mask=col < cols)
