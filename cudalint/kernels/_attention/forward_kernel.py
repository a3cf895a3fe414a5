"""The forward kernel of attention. Imported by the first launch on a GPU.

One program for each block of queries of each head, with an online softmax over the tiles of keys
that hold something: the tiles at the edges with masks, then the full ones without.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._attention.scores import (
    as_score,
    dropout_key,
    kept,
    load_tile,
    power,
    score_tile,
    store_tile,
    tile_range,
    tile_start,
)


@triton.jit
def forward(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, slopes_ptr, sinks_ptr, seed_ptr, out_ptr, lse_ptr,
    heads, groups, queries, keys, q_b, q_h, q_i, k_b, k_h, k_j, v_b, v_h, v_j, bias_b, bias_h,
    bias_i, bias_j, mask_b, mask_h, mask_i, mask_j, slopes_b, slopes_h, out_b, out_h, out_i,
    plane, left, right, shift, threshold, scale, softcap, kept_scale,
    WIDTH: tl.constexpr, V_WIDTH: tl.constexpr, SOFTCAP: tl.constexpr, BIAS: tl.constexpr,
    MASK: tl.constexpr, ALIBI: tl.constexpr, SINKS: tl.constexpr, DROPOUT: tl.constexpr,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, PRECISE: tl.constexpr, PRECISION: tl.constexpr,
    WIDEN: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
):  # fmt: skip
    """`lse` is log₂ of the sum of the exponentials, +∞ where a query sees nothing.

    APART it is the highest score, and `plane` further lies 1 / the sum: see `Extras.apart`.
    """
    APART: tl.constexpr = BIAS or MASK == 1 or PRECISE
    blocks = (queries + BLOCK_I - 1) // BLOCK_I
    number = tl.program_id(0)
    head = (number // blocks).to(tl.int64)
    # the last blocks, which see most where a causal mask is, begin first
    first = (blocks - 1 - number % blocks) * BLOCK_I
    b, h = head // heads, head % heads
    q_ptr += b * q_b + h * q_h
    k_ptr += b * k_b + h // groups * k_h
    v_ptr += b * v_b + h // groups * v_h
    out_ptr += b * out_b + h * out_h
    bias_ptr += b * bias_b + h * bias_h
    mask_ptr += b * mask_b + h * mask_h
    slope = 0.0
    if ALIBI:
        slope = as_score(tl.load(slopes_ptr + b * slopes_b + h * slopes_h), PRECISE)
    key = dropout_key(seed_ptr, head, DROPOUT)
    line, col = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_J)
    row = first + line
    q = load_tile(q_ptr, first, line, q_i, queries, WIDTH, BLOCK_D, True, WIDEN)
    highest = tl.full([BLOCK_I], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_I], tl.float32)
    if SINKS:
        sink = as_score(tl.load(sinks_ptr + h), PRECISE)
        highest = tl.zeros([BLOCK_I], tl.float32) + sink
        total += tl.where(sink == -float("inf"), 0.0, 1.0)
    acc = tl.zeros([BLOCK_I, BLOCK_E], tl.float32)
    last = tl.minimum(first + BLOCK_I, queries) - 1
    lo, full_lo, full_hi, lefts, edges = tile_range(
        first, last, keys, left, right, shift, LEFT, RIGHT, BLOCK_J
    )
    for EDGE in tl.static_range(1, -1, -1):
        steps = edges if EDGE else (full_hi - full_lo) // BLOCK_J
        for step in tl.range(0, steps):
            start = tile_start(step, lo, full_lo, full_hi, lefts, EDGE, BLOCK_J)
            k = load_tile(k_ptr, start, col, k_j, keys, WIDTH, BLOCK_D, EDGE, WIDEN)
            qk = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            t, _ = score_tile(
                qk, first, start, line[:, None], col[None, :], bias_ptr, bias_i, bias_j, mask_ptr,
                mask_i, mask_j, slope, scale, softcap, queries, keys, left, right, shift, SOFTCAP,
                BIAS, MASK, ALIBI, LEFT, RIGHT, EDGE, PRECISE,
            )  # fmt: skip
            higher = tl.maximum(highest, tl.max(t, 1))
            base = tl.where(higher == -float("inf"), 0.0, higher)  # −∞ − −∞ would be NaN
            p = power(t - base[:, None], PRECISE)
            rescaled = power(highest - base, PRECISE)
            total = total * rescaled + tl.sum(p, 1)
            highest = higher
            if not PRECISE:
                acc = acc * rescaled[:, None]
            if DROPOUT:
                p = tl.where(kept(key, row[:, None], start + col[None, :], threshold), p, 0.0)
            v = load_tile(v_ptr, start, col, v_j, keys, V_WIDTH, BLOCK_E, EDGE, WIDEN)
            if PRECISE:  # a sum of all keys in turn would be rounded at each
                acc = tl.fma(acc, rescaled[:, None], tl.dot(p, v, input_precision=PRECISION))
            else:
                acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
    nothing = total == 0.0
    acc = acc * (kept_scale / tl.where(nothing, 1.0, total))[:, None]
    store_tile(out_ptr, acc, first, line, out_i, queries, V_WIDTH, BLOCK_E)
    lse = highest if APART else highest + tl.log2(total)
    lse_at = lse_ptr + head * queries + row
    tl.store(lse_at, tl.where(nothing, float("inf"), lse), mask=row < queries)
    if APART:
        tl.store(lse_at + plane, 1.0 / tl.where(nothing, 1.0, total), mask=row < queries)
