"""The norms with what stands round them, forward, in Triton. Imported by the first launch.

A row is held whole: x, and residual where there is one, are read once; y, and the sum h, written.
Scale, shift and gate are [groups, cols]: one row of them for `group_rows` rows of x, or with
PER_ROW one for each. Results are contiguous. What a call lacks gets x's pointer.

A tile's columns are a power of two. So that a width such as 1,152 does not idle half the lanes, a
row may come in two pieces, of FIRST and REST columns; REST is 0 where it is one. EVEN: rows and
columns fill their tiles, so that nothing is masked. (Triton knows no starred tuples: hence `+`.)

Means are products with `inverse_cols`: of one column that is exact, where the device's quick division
would leave a rest for 1 / √eps to blow up.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator, assignment"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import inverse_root, row_offset


@triton.jit
def columns(PIECE: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr):
    """The columns of a row's piece, 0 or 1."""
    if PIECE == 0:
        col = tl.arange(0, FIRST)
    else:
        col = FIRST + tl.arange(0, REST)
    return col


@triton.jit
def read(pointer, mask, EVEN: tl.constexpr):
    """float32."""
    if EVEN:
        value = tl.load(pointer)
    else:
        value = tl.load(pointer, mask=mask, other=0.0)
    return value.to(tl.float32)


@triton.jit
def write(pointer, value, mask, EVEN: tl.constexpr):
    value = value.to(pointer.dtype.element_ty)
    if EVEN:
        tl.store(pointer, value)
    else:
        tl.store(pointer, value, mask=mask)


@triton.jit
def vector(pointer, col, cols, EVEN: tl.constexpr):
    """A row that all rows share; not widened: fewer registers."""
    if EVEN:
        value = tl.load(pointer + col)
    else:
        value = tl.load(pointer + col, mask=col < cols, other=0.0)
    return value[None, :]


@triton.jit
def modulation(
    m_ptr, group, row, stride, col, mask, cols, PER_ROW: tl.constexpr, EVEN: tl.constexpr
):
    """A row of scale, shift or gate for all rows, or one for each; not widened."""
    if PER_ROW:
        at = m_ptr + (row * stride)[:, None] + col[None, :]
        if EVEN:
            m = tl.load(at)
        else:
            m = tl.load(at, mask=mask, other=0.0)
    else:
        m = vector(m_ptr + group * stride, col, cols, EVEN)
    return m


@triton.jit
def row_sums(parts, PIECES: tl.constexpr):
    """Of two pieces as a number, which binds them to no common layout: there is one row then."""
    total = tl.sum(parts[0], axis=1)
    if PIECES == 2:
        both = tl.sum(total, axis=0) + tl.sum(tl.sum(parts[1], axis=1), axis=0)
        total = tl.full([1], both, tl.float32)
    return total


@triton.jit
def row_products(a, b, PIECES: tl.constexpr):
    products = (a[0] * b[0],)
    if PIECES == 2:
        products = products + (a[1] * b[1],)  # noqa: RUF005
    return row_sums(products, PIECES)


@triton.jit
def shifted(hs, mean, inside, cols, FIRST: tl.constexpr, REST: tl.constexpr, EVEN: tl.constexpr):
    """The pieces less their row's mean; 0 where there is no row or column."""
    result = ()
    for i in tl.static_range(2 if REST else 1):
        h = hs[i] - mean[:, None]
        if not EVEN:
            mask = inside[:, None] & (columns(i, FIRST, REST) < cols)[None, :]
            h = tl.where(mask, h, 0.0)
        result = result + (h,)  # noqa: RUF005
    return result


@triton.jit
def centred(
    hs, inside, cols, inverse_cols,
    PRECISE: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """h less its row's mean, and the sum of squares of that.

    PRECISE: what rounding left in the first mean is taken off too, told by a sum that is free
    beside that of the squares; far from zero it would be most of the error. Of the squares it is
    nothing.
    """
    PIECES: tl.constexpr = 2 if REST else 1
    mean = row_sums(hs, PIECES) * inverse_cols
    hs = shifted(hs, mean, inside, cols, FIRST, REST, EVEN)
    squares = row_products(hs, hs, PIECES)
    if PRECISE:
        rest = row_sums(hs, PIECES) * inverse_cols
        hs = shifted(hs, rest, inside, cols, FIRST, REST, EVEN)
    return hs, squares


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
    programs,
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
    LOOPED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    FIRST: tl.constexpr,
    REST: tl.constexpr,
    EVEN: tl.constexpr,
):
    """`programs` a group; LOOPED: each takes tile after tile, and reads what all rows of the group
    share from the first cache from the second on."""
    PIECES: tl.constexpr = 2 if REST else 1
    group = tl.program_id(0).to(tl.int64) // programs
    first = tl.program_id(0) % programs
    turns = tl.cdiv(tl.cdiv(group_rows, BLOCK_ROWS) - first, programs) if LOOPED else 1
    for turn in tl.range(0, turns, num_stages=1):
        place = (first + turn * programs) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        row = group * group_rows + place
        inside = place < group_rows
        x_row = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None]
        r_row = row_offset(row, size1, size2, rs0, rs1, rs2, LEVELS)[:, None]
        out_row = (row * cols)[:, None]
        hs = ()
        for i in tl.static_range(PIECES):
            col = columns(i, FIRST, REST)
            mask = inside[:, None] & (col < cols)[None, :]
            h = read(x_ptr + x_row + col[None, :], mask, EVEN)
            if RESIDUAL:
                residual = read(r_ptr + r_row + col[None, :], mask, EVEN)
                if GATE:
                    gate = modulation(g_ptr, group, row, g_stride, col, mask, cols, PER_ROW, EVEN)
                    h *= gate.to(tl.float32)
                stored = (residual + h).to(h_ptr.dtype.element_ty)
                write(h_ptr + out_row + col[None, :], stored, mask, EVEN)
                h = stored.to(tl.float32)
            hs = hs + (h,)  # noqa: RUF005
        if NORM:
            if LAYER:
                hs, squares = centred(hs, inside, cols, inverse_cols, PRECISE, FIRST, REST, EVEN)
            else:
                squares = row_products(hs, hs, PIECES)
            r = inverse_root(squares * inverse_cols + eps, PRECISE)[:, None]
            for i in tl.static_range(PIECES):
                col = columns(i, FIRST, REST)
                mask = inside[:, None] & (col < cols)[None, :]
                y = rounded(hs[i] * r, ROUND)
                if WEIGHT:
                    y *= vector(w_ptr, col, cols, EVEN).to(tl.float32) + weight_offset
                if BIAS:
                    y += vector(b_ptr, col, cols, EVEN).to(tl.float32)
                if SCALE:
                    s = modulation(s_ptr, group, row, s_stride, col, mask, cols, PER_ROW, EVEN)
                    y *= s.to(tl.float32) + scale_offset
                if SHIFT:
                    t = modulation(t_ptr, group, row, t_stride, col, mask, cols, PER_ROW, EVEN)
                    y += t.to(tl.float32)
                write(y_ptr + out_row + col[None, :], y, mask, EVEN)
