"""The gradient of attention's bias. Imported by the first launch on a GPU that needs it.

One program for each tile of the bias, which goes through the batches and heads that share it in a
fixed order: nothing is added to memory.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._attention.backward_kernels import (
    load_sums,
    score_gradients,
    weight_gradients,
)
from cudalint.kernels._attention.scores import as_score, dropout_key, load_tile, score_tile


@triton.jit
def bias_backward(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, slopes_ptr, seed_ptr, dout_ptr, lse_ptr, delta_ptr,
    dbias_ptr,
    heads, groups, queries, keys, q_b, q_h, q_i, k_b, k_h, k_j, v_b, v_h, v_j, bias_b, bias_h,
    bias_i, bias_j, mask_b, mask_h, mask_i, mask_j, slopes_b, slopes_h, dout_b, dout_h, dout_i,
    bias_heads, batches_each, heads_each, dbias_b, dbias_h, dbias_i, dbias_j,
    plane, left, right, shift, threshold, scale, softcap, kept_scale,
    WIDTH: tl.constexpr, V_WIDTH: tl.constexpr, SOFTCAP: tl.constexpr, BIAS: tl.constexpr,
    MASK: tl.constexpr, ALIBI: tl.constexpr, DROPOUT: tl.constexpr, LEFT: tl.constexpr,
    RIGHT: tl.constexpr, PRECISE: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Where the bias is one row for all queries, not ROWS, a tile gives one row of sums for its block
    of queries, and likewise one column where not COLS; the launch adds these."""
    REST: tl.constexpr = PRECISE and PRECISION != "tf32"
    blocks_j = (keys + BLOCK_J - 1) // BLOCK_J
    blocks = (queries + BLOCK_I - 1) // BLOCK_I * blocks_j
    number = tl.program_id(0)
    bias_head = (number // blocks).to(tl.int64)
    block_i, block_j = number % blocks // blocks_j, number % blocks % blocks_j
    first_b = bias_head // bias_heads * batches_each
    first_h = bias_head % bias_heads * heads_each
    start_i, start_j = block_i * BLOCK_I, block_j * BLOCK_J
    line_i, line_j = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_J)
    row, col = start_i + line_i, start_j + line_j
    acc = tl.zeros([BLOCK_I, BLOCK_J], tl.float32)
    for step in tl.range(0, batches_each * heads_each):
        b, h = first_b + step // heads_each, first_h + step % heads_each
        head = b * heads + h
        slope = 0.0
        if ALIBI:
            slope = as_score(tl.load(slopes_ptr + b * slopes_b + h * slopes_h), PRECISE)
        q_at = q_ptr + b * q_b + h * q_h
        q = load_tile(q_at, start_i, line_i, q_i, queries, WIDTH, BLOCK_D, True, WIDEN)
        k_at = k_ptr + b * k_b + h // groups * k_h
        k = load_tile(k_at, start_j, line_j, k_j, keys, WIDTH, BLOCK_D, True, WIDEN)
        qk = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        t, _ = score_tile(
            qk, start_i, start_j, line_i[:, None], line_j[None, :],
            bias_ptr + b * bias_b + h * bias_h, bias_i, bias_j, mask_ptr + b * mask_b + h * mask_h,
            mask_i, mask_j, slope, scale, softcap, queries, keys, left, right, shift, SOFTCAP, BIAS,
            MASK, ALIBI, LEFT, RIGHT, True, PRECISE,
        )  # fmt: skip
        dout_at = dout_ptr + b * dout_b + h * dout_h
        dout = load_tile(dout_at, start_i, line_i, dout_i, queries, V_WIDTH, BLOCK_E, True, WIDEN)
        v_at = v_ptr + b * v_b + h // groups * v_h
        v = load_tile(v_at, start_j, line_j, v_j, keys, V_WIDTH, BLOCK_E, True, WIDEN)
        lse, share, delta, rest = load_sums(
            lse_ptr, delta_ptr, head * queries, start_i, line_i, queries, plane, True, REST, True
        )
        dp = weight_gradients(dout, tl.trans(v), delta[:, None], DROPOUT, PRECISION)
        key = dropout_key(seed_ptr, head, DROPOUT)
        _, ds = score_gradients(
            t, dp, lse[:, None], share[:, None], delta[:, None], rest[:, None], key, row[:, None],
            col[None, :], threshold, kept_scale, True, REST, DROPOUT, PRECISE,
        )  # fmt: skip
        acc += ds
    at_i, at_j = row.to(tl.int64), col.to(tl.int64)
    inside_i, inside_j = row < queries, col < keys
    if not ROWS:
        acc = tl.sum(acc, 0, keep_dims=True)
        at_i = tl.zeros([1], tl.int64) + block_i
        inside_i = at_i >= 0
    if not COLS:
        acc = tl.sum(acc, 1, keep_dims=True)
        at_j = tl.zeros([1], tl.int64) + block_j
        inside_j = at_j >= 0
    dbias_ptr += bias_head // bias_heads * dbias_b + bias_head % bias_heads * dbias_h
    at = dbias_ptr + at_i[:, None] * dbias_i + at_j[None, :] * dbias_j
    mask = inside_i[:, None] & inside_j[None, :]
    tl.store(at, acc.to(dbias_ptr.dtype.element_ty), mask=mask)
