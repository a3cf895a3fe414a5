"""Rotary position embedding in Triton. Imported by the first launch on a GPU, never before.

Bytes: reads and writes q and k once (2N), forward and backward alike; the tables come from the
caches for all heads but the first.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import row_offset


@triton.jit
def _load_pairs(
    at, step, mask, INTERLEAVED: tl.constexpr, HALF: tl.constexpr, BLOCK_HALF: tl.constexpr
):
    """The first and the second numbers of the pairs of each row [rows, BLOCK_HALF], in float32."""
    if INTERLEAVED:
        col = tl.arange(0, 2 * BLOCK_HALF)[None, :]
        both = tl.load(at + col * step, mask=mask & (col < 2 * HALF), other=0.0).to(tl.float32)
        first, second = tl.split(tl.reshape(both, (both.shape[0], BLOCK_HALF, 2)))
    else:
        col = tl.arange(0, BLOCK_HALF)[None, :]
        mask = mask & (col < HALF)
        first = tl.load(at + col * step, mask=mask, other=0.0).to(tl.float32)
        second = tl.load(at + (col + HALF) * step, mask=mask, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def _store_pairs(
    at,
    first,
    second,
    mask,
    INTERLEAVED: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    if INTERLEAVED:
        col = tl.arange(0, 2 * BLOCK_HALF)[None, :]
        both = tl.reshape(tl.join(first, second), (first.shape[0], 2 * BLOCK_HALF))
        tl.store(at + col, both.to(at.dtype.element_ty), mask=mask & (col < 2 * HALF))
    else:
        col = tl.arange(0, BLOCK_HALF)[None, :]
        mask = mask & (col < HALF)
        tl.store(at + col, first.to(at.dtype.element_ty), mask=mask)
        tl.store(at + (col + HALF), second.to(at.dtype.element_ty), mask=mask)


@triton.jit
def _turn_rows(
    x_ptr,
    cos_ptr,
    sin_ptr,
    y_ptr,
    number,
    rows,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    cs0,
    cs1,
    cs2,
    ss0,
    ss1,
    ss2,
    ys0,
    ys1,
    ys2,
    cos_step,
    sin_step,
    LEVELS: tl.constexpr,
    SHARED: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    HALF_TABLE: tl.constexpr,
    BACKWARD: tl.constexpr,
    WIDE: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
):
    if SHARED:
        # the rows are heads of one token: its row of the tables is read once for all of them
        blocks = tl.cdiv(size2, BLOCK_ROWS)
        token = number // blocks
        head = (number - token * blocks) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        mask = (head < size2)[:, None]
        head = head.to(tl.int64)[:, None]
        x_at = x_ptr + row_offset(token, 1, size1, 0, xs0, xs1, 2) + head * xs2
        y_at = y_ptr + row_offset(token, 1, size1, 0, ys0, ys1, 2) + head * ys2
        one = tl.zeros((1, 1), tl.int64)
        cos_at = cos_ptr + row_offset(token, 1, size1, 0, cs0, cs1, 2) + one
        sin_at = sin_ptr + row_offset(token, 1, size1, 0, ss0, ss1, 2) + one
        table_mask = one == 0
    else:
        if WIDE:
            number = number.to(tl.int64)
        row = number * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        mask = (row < rows)[:, None]
        x_at = x_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None]
        cos_at = cos_ptr + row_offset(row, size1, size2, cs0, cs1, cs2, LEVELS)[:, None]
        sin_at = sin_ptr + row_offset(row, size1, size2, ss0, ss1, ss2, LEVELS)[:, None]
        y_at = y_ptr + row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)[:, None]
        table_mask = mask
    x1, x2 = _load_pairs(x_at, 1, mask, INTERLEAVED, HALF, BLOCK_HALF)
    if HALF_TABLE:
        col = tl.arange(0, BLOCK_HALF)[None, :]
        inside = table_mask & (col < HALF)
        c1 = tl.load(cos_at + col * cos_step, mask=inside, other=0.0).to(tl.float32)
        s1 = tl.load(sin_at + col * sin_step, mask=inside, other=0.0).to(tl.float32)
        c2, s2 = c1, s1
    else:
        c1, c2 = _load_pairs(cos_at, cos_step, table_mask, INTERLEAVED, HALF, BLOCK_HALF)
        s1, s2 = _load_pairs(sin_at, sin_step, table_mask, INTERLEAVED, HALF, BLOCK_HALF)
    if BACKWARD:
        y1, y2 = x1 * c1 + x2 * s2, x2 * c2 - x1 * s1
    else:
        y1, y2 = x1 * c1 - x2 * s1, x2 * c2 + x1 * s2
    _store_pairs(y_at, y1, y2, mask, INTERLEAVED, HALF, BLOCK_HALF)
    if REST > 0:
        col = tl.arange(0, BLOCK_REST)[None, :]
        inside = mask & (col < REST)
        rest = tl.load(x_at + (col + 2 * HALF), mask=inside, other=0.0)
        tl.store(y_at + (col + 2 * HALF), rest.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def turn(
    q_ptr,
    k_ptr,
    cos_ptr,
    sin_ptr,
    q_out_ptr,
    k_out_ptr,
    q_blocks,
    cos_step,
    sin_step,
    q_rows,
    q_size1,
    q_size2,
    q_xs0,
    q_xs1,
    q_xs2,
    q_cs0,
    q_cs1,
    q_cs2,
    q_ss0,
    q_ss1,
    q_ss2,
    q_ys0,
    q_ys1,
    q_ys2,
    k_rows,
    k_size1,
    k_size2,
    k_xs0,
    k_xs1,
    k_xs2,
    k_cs0,
    k_cs1,
    k_cs2,
    k_ss0,
    k_ss1,
    k_ss2,
    k_ys0,
    k_ys1,
    k_ys2,
    INTERLEAVED: tl.constexpr,
    HALF_TABLE: tl.constexpr,
    BACKWARD: tl.constexpr,
    PAIR: tl.constexpr,
    TOGETHER: tl.constexpr,
    WIDE: tl.constexpr,
    Q_LEVELS: tl.constexpr,
    K_LEVELS: tl.constexpr,
    Q_SHARED: tl.constexpr,
    K_SHARED: tl.constexpr,
    HALF: tl.constexpr,
    Q_REST: tl.constexpr,
    K_REST: tl.constexpr,
    Q_BLOCK_ROWS: tl.constexpr,
    K_BLOCK_ROWS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    Q_BLOCK_REST: tl.constexpr,
    K_BLOCK_REST: tl.constexpr,
):
    """The first `q_blocks` programs turn rows of q, the others rows of k; or TOGETHER each both."""
    number = tl.program_id(0)
    is_q = True
    is_k = TOGETHER
    k_number = number
    if PAIR and not TOGETHER:
        is_q = number < q_blocks
        is_k = number >= q_blocks
        k_number = number - q_blocks
    if is_q:
        _turn_rows(
            q_ptr, cos_ptr, sin_ptr, q_out_ptr, number, q_rows, q_size1, q_size2,
            q_xs0, q_xs1, q_xs2, q_cs0, q_cs1, q_cs2, q_ss0, q_ss1, q_ss2, q_ys0, q_ys1, q_ys2,
            cos_step, sin_step, Q_LEVELS, Q_SHARED, INTERLEAVED, HALF_TABLE, BACKWARD, WIDE, HALF, Q_REST,
            Q_BLOCK_ROWS, BLOCK_HALF, Q_BLOCK_REST,
        )  # fmt: skip
    if is_k:
        _turn_rows(
            k_ptr, cos_ptr, sin_ptr, k_out_ptr, k_number, k_rows, k_size1, k_size2,
            k_xs0, k_xs1, k_xs2, k_cs0, k_cs1, k_cs2, k_ss0, k_ss1, k_ss2, k_ys0, k_ys1, k_ys2,
            cos_step, sin_step, K_LEVELS, K_SHARED, INTERLEAVED, HALF_TABLE, BACKWARD, WIDE, HALF, K_REST,
            K_BLOCK_ROWS, BLOCK_HALF, K_BLOCK_REST,
        )  # fmt: skip
