"""The norms with what stands round them, backward, in Triton. Imported by the first launch.

With h the sum, less its mean in a layer norm, r = 1/√(mean h² + eps), x̂ = h·r, dn = dy·(scale_offset
+ scale) and g = dn·(weight_offset + weight): the sum's gradient is r·(g − x̂·mean(g·x̂)), in a layer
norm less r·mean(g), and dh on top. x's is that times gate.

What is the same for all rows, or for a group of them, gets a sum: each program keeps it in
registers and writes one part, [groups · programs, cols]; `sum_parts` adds the parts up in a fixed
order. With one program a group, or PER_ROW, the parts of gate, scale and shift are the gradients.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator, assignment, var-annotated"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root, row_offset
from cudalint.kernels._norms.forward_kernels import (
    centred,
    columns,
    modulation,
    read,
    rounded,
    row_products,
    row_sums,
    vector,
    write,
)


@triton.jit(do_not_specialize=["programs"])  # whose number follows from what is compiled
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
    FIRST: tl.constexpr,
    REST: tl.constexpr,
    EVEN: tl.constexpr,
):
    PIECES: tl.constexpr = 2 if REST else 1
    group = tl.program_id(0).to(tl.int64) // programs
    # of each piece: what all rows share, and the sums over them
    ws, bs, ss, gates = (), (), (), ()
    dgs, dws, dbs, dss, dts = (), (), (), (), ()
    for i in tl.static_range(PIECES):
        col = columns(i, FIRST, REST)
        nothing = tl.zeros([BLOCK_ROWS, REST if i else FIRST], tl.float32)
        w, b, s, gate = nothing, nothing, nothing, nothing
        if NORM and WEIGHT:
            w = vector(w_ptr, col, cols, EVEN)
        if NORM and BIAS and SCALE_GRAD:
            b = vector(b_ptr, col, cols, EVEN)
        if NORM and SCALE and not PER_ROW:
            s = modulation(s_ptr, group, 0, s_stride, col, None, cols, False, EVEN)
        if GATE and not PER_ROW:
            gate = modulation(g_ptr, group, 0, g_stride, col, None, cols, False, EVEN)
        ws, bs, ss, gates = ws + (w,), bs + (b,), ss + (s,), gates + (gate,)  # noqa: RUF005
        dgs, dws, dbs = dgs + (nothing,), dws + (nothing,), dbs + (nothing,)  # noqa: RUF005
        dss, dts = dss + (nothing,), dts + (nothing,)  # noqa: RUF005
    blocks = tl.cdiv(group_rows, BLOCK_ROWS)
    for block in tl.range(tl.program_id(0) % programs, blocks, programs, num_stages=STAGES):
        place = block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        row = group * group_rows + place
        inside = place < group_rows
        out_row = (row * cols)[:, None]
        hs, dys, gs, scales = (), (), (), ()
        if NORM:
            h_row = row_offset(row, size1, size2, hs0, hs1, hs2, LEVELS)[:, None]
            y_row = row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)[:, None]
            for i in tl.static_range(PIECES):
                col = columns(i, FIRST, REST)
                mask = inside[:, None] & (col < cols)[None, :]
                h = read(h_ptr + h_row + col[None, :], mask, EVEN)
                dy = read(dy_ptr + y_row + col[None, :], mask, EVEN)
                g = dy
                scale = ss[i]
                if SCALE:
                    if PER_ROW:
                        scale = modulation(s_ptr, group, row, s_stride, col, mask, cols, True, EVEN)
                    g = dy * (scale.to(tl.float32) + scale_offset)
                if WEIGHT:
                    g = g * (ws[i].to(tl.float32) + weight_offset)
                hs, dys, gs = hs + (h,), dys + (dy,), gs + (g,)  # noqa: RUF005
                scales = scales + (scale,)  # noqa: RUF005
            if LAYER:
                hs, squares = centred(hs, inside, cols, inverse_cols, PRECISE, FIRST, REST, EVEN)
            else:
                squares = row_products(hs, hs, PIECES)
            # beside the squares, in one exchange between threads
            products = row_products(gs, hs, PIECES)
            if LAYER:
                mean = row_sums(gs, PIECES) * inverse_cols
            r = inverse_root(squares * inverse_cols + eps, PRECISE)
            share = (r * products * inverse_cols)[:, None]
        next_dgs, next_dws, next_dbs, next_dss, next_dts = (), (), (), (), ()
        for i in tl.static_range(PIECES):
            col = columns(i, FIRST, REST)
            mask = inside[:, None] & (col < cols)[None, :]
            at = out_row + col[None, :]
            dsum = tl.zeros([BLOCK_ROWS, REST if i else FIRST], tl.float32)
            dg, dw, db, ds, dt = dgs[i], dws[i], dbs[i], dss[i], dts[i]
            if NORM:
                normed = hs[i] * r[:, None]
                inner = gs[i]
                if LAYER:
                    inner = inner - mean[:, None]
                dsum = r[:, None] * (inner - normed * share)
                normed = rounded(normed, ROUND)
            if DH:
                dsum += read(dh_ptr + at, mask, EVEN)
            if SUM_GRAD:
                write(dsum_ptr + at, dsum, mask, EVEN)
            factor = gates[i]
            if PER_ROW and GATE:
                factor = modulation(g_ptr, group, row, g_stride, col, mask, cols, True, EVEN)
            if X_GRAD:
                write(dx_ptr + at, dsum * factor.to(tl.float32), mask, EVEN)
            if GATE_GRAD:
                x_row = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None]
                gated = dsum * read(x_ptr + x_row + col[None, :], mask, EVEN)
                if PER_ROW:
                    write(dg_ptr + at, gated, mask, EVEN)
                else:
                    dg += within(gated, mask, EVEN)
            if WEIGHT_GRAD or BIAS_GRAD:
                dn = dys[i]
                if SCALE:
                    dn = dn * (scales[i].to(tl.float32) + scale_offset)
                if WEIGHT_GRAD:
                    dw += within(dn * normed, mask, EVEN)
                if BIAS_GRAD:
                    db += dn
            if SCALE_GRAD:
                if WEIGHT:
                    normed *= ws[i].to(tl.float32) + weight_offset
                if BIAS:
                    normed += bs[i].to(tl.float32)
                if PER_ROW:
                    write(ds_ptr + at, dys[i] * normed, mask, EVEN)
                else:
                    ds += within(dys[i] * normed, mask, EVEN)
            if SHIFT_GRAD:
                if PER_ROW:
                    write(dt_ptr + at, dys[i], mask, EVEN)
                else:
                    dt += dys[i]
            next_dgs, next_dws = next_dgs + (dg,), next_dws + (dw,)  # noqa: RUF005
            next_dbs, next_dss = next_dbs + (db,), next_dss + (ds,)  # noqa: RUF005
            next_dts = next_dts + (dt,)  # noqa: RUF005
        dgs, dws, dbs, dss, dts = next_dgs, next_dws, next_dbs, next_dss, next_dts
    part = tl.program_id(0).to(tl.int64) * cols
    for i in tl.static_range(PIECES):
        col = columns(i, FIRST, REST)
        if GATE_GRAD and not PER_ROW:
            write(dg_ptr + part + col, tl.sum(dgs[i], axis=0), col < cols, EVEN)
        if WEIGHT_GRAD:
            write(dw_ptr + part + col, tl.sum(dws[i], axis=0), col < cols, EVEN)
        if BIAS_GRAD:
            write(db_ptr + part + col, tl.sum(dbs[i], axis=0), col < cols, EVEN)
        if SCALE_GRAD and not PER_ROW:
            write(ds_ptr + part + col, tl.sum(dss[i], axis=0), col < cols, EVEN)
        if SHIFT_GRAD and not PER_ROW:
            write(dt_ptr + part + col, tl.sum(dts[i], axis=0), col < cols, EVEN)


@triton.jit
def within(value, mask, EVEN: tl.constexpr):
    """0 past the end: h is 0 there, and r inf where eps is 0."""
    return value if EVEN else tl.where(mask, value, 0.0)


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
