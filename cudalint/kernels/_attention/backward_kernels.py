"""The backward kernels of attention. Imported by the first launch on a GPU.

No two programs add to one number: `keys` makes dk and dv, one program for each block of keys, which
goes through the query heads of its group; `queries` makes dq; `biases` makes dbias, one program for
each of its tiles, which goes through the batches and heads that share it. All make the weights anew.

In float32 Σ out · dout is not all of delta: where few keys are seen, dp − delta is a small difference,
and both must have the same rounding errors. What Σ ds is off by, the rest, is made by `queries`
beforehand, from the very dp that the others will make, and taken off dp − delta.
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
def load_line(ptr, start, line, rows, other, EDGE: tl.constexpr):
    """A number of each row `start + line`; past `rows`, which only an EDGE reaches, `other`."""
    if EDGE:
        numbers = tl.load(ptr + start + line, mask=line < rows - start, other=other)
    else:
        numbers = tl.load(ptr + start + line)
    return numbers


@triton.jit
def load_sums(
    lse_ptr, delta_ptr, at, start, line, queries, plane, APART: tl.constexpr, REST: tl.constexpr,
    EDGE: tl.constexpr,
):  # fmt: skip
    """What is kept of the queries of the head at `at`: (lse, share, delta, its rest).

    power(t − lse) · share is a weight, without APART power(t − lse).
    """
    lse = load_line(lse_ptr + at, start, line, queries, float("inf"), EDGE)
    delta = load_line(delta_ptr + at, start, line, queries, 0.0, EDGE)
    share = delta
    if APART:
        share = load_line(lse_ptr + plane + at, start, line, queries, 0.0, EDGE)
    rest = delta
    if REST:
        rest = load_line(delta_ptr + plane + at, start, line, queries, 0.0, EDGE)
    return lse, share, delta, rest


@triton.jit
def prepare(
    out_ptr, dout_ptr, lse_ptr, sinks_ptr, delta_ptr, parts_ptr, heads, queries, out_b, out_h, out_i,
    dout_b, dout_h, dout_i, plane,
    V_WIDTH: tl.constexpr, APART: tl.constexpr, PRECISE: tl.constexpr, SINKS: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """delta = Σ out · dout of each query, and of each block its part of the sink's gradient."""
    blocks = (queries + BLOCK_I - 1) // BLOCK_I
    number = tl.program_id(0)
    head = (number // blocks).to(tl.int64)
    b, h = head // heads, head % heads
    first, line = number % blocks * BLOCK_I, tl.arange(0, BLOCK_I)
    row = first + line
    out_ptr += b * out_b + h * out_h
    dout_ptr += b * dout_b + h * dout_h
    out = load_tile(out_ptr, first, line, out_i, queries, V_WIDTH, BLOCK_E, True, True)
    dout = load_tile(dout_ptr, first, line, dout_i, queries, V_WIDTH, BLOCK_E, True, True)
    delta = tl.sum(out * dout, 1)
    tl.store(delta_ptr + head * queries + row, delta, mask=row < queries)
    if SINKS:
        sink = as_score(tl.load(sinks_ptr + h), PRECISE)
        at = head * queries
        lse, share, _, _ = load_sums(
            lse_ptr, delta_ptr, at, first, line, queries, plane, APART, False, True
        )
        weight = power(sink - lse, PRECISE)
        if APART:
            weight = weight * share
        tl.store(parts_ptr + number, -tl.sum(weight * delta, 0))


@triton.jit
def weight_gradients(a, b, delta, DROPOUT: tl.constexpr, PRECISION: tl.constexpr):
    """a · b, less `delta` where nothing is dropped: the sum may begin there, which frees registers."""
    acc = tl.zeros([a.shape[0], b.shape[1]], tl.float32)
    if not DROPOUT:
        acc = acc - delta
    return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def score_gradients(
    t, dp, lse, share, delta, rest, key, i, j, threshold, kept_scale, APART: tl.constexpr,
    REST: tl.constexpr, DROPOUT: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """(the weights as they met v, the gradient of the scores); lse, share, delta, rest go with i.

    `dp` comes from `weight_gradients`.
    """
    p = power(t - lse, PRECISE)
    if APART:
        p = p * share
    dropped = p
    if DROPOUT:
        keep = kept(key, i, j, threshold)
        dropped = tl.where(keep, p * kept_scale, 0.0)
        dp = tl.where(keep, dp * kept_scale, 0.0) - delta
    if REST:
        dp = dp - rest
    return dropped, p * dp


@triton.jit
def keys_backward(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, slopes_ptr, seed_ptr, dout_ptr, lse_ptr, delta_ptr,
    dk_ptr, dv_ptr,
    heads, groups, queries, keys, q_b, q_h, q_i, k_b, k_h, k_j, v_b, v_h, v_j, bias_b, bias_h,
    bias_i, bias_j, mask_b, mask_h, mask_i, mask_j, slopes_b, slopes_h, dout_b, dout_h, dout_i,
    dk_b, dk_h, dk_j, dv_b, dv_h, dv_j,
    plane, left, right, shift, threshold, scale, softcap, kept_scale, dscale,
    WIDTH: tl.constexpr, V_WIDTH: tl.constexpr, SOFTCAP: tl.constexpr, BIAS: tl.constexpr,
    MASK: tl.constexpr, ALIBI: tl.constexpr, DROPOUT: tl.constexpr, LEFT: tl.constexpr,
    RIGHT: tl.constexpr, PRECISE: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    KEY_GRAD: tl.constexpr, VALUE_GRAD: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """dk and dv of a block of keys, or one of them. Tiles are [keys, queries], as their products are.

    Wide heads take two launches: the registers hold one sum of such a width.
    """
    APART: tl.constexpr = BIAS or MASK == 1 or PRECISE
    REST: tl.constexpr = PRECISE and PRECISION != "tf32"
    blocks = (keys + BLOCK_J - 1) // BLOCK_J
    number = tl.program_id(0)
    kv_head = (number // blocks).to(tl.int64)
    first = number % blocks * BLOCK_J
    kv_heads = heads // groups
    b, kv = kv_head // kv_heads, kv_head % kv_heads
    line, col = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_J)
    k_ptr += b * k_b + kv * k_h
    v_ptr += b * v_b + kv * v_h
    k = load_tile(k_ptr, first, col, k_j, keys, WIDTH, BLOCK_D, True, WIDEN)
    v = load_tile(v_ptr, first, col, v_j, keys, V_WIDTH, BLOCK_E, True, WIDEN)
    dk = tl.zeros([BLOCK_J, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_J, BLOCK_E], tl.float32)
    last = tl.minimum(first + BLOCK_J, keys) - 1
    lo, full_lo, full_hi, lefts, edges = tile_range(
        first, last, queries, right, left, -shift, RIGHT, LEFT, BLOCK_I
    )
    for EDGE in tl.static_range(1, -1, -1):
        steps = edges if EDGE else (full_hi - full_lo) // BLOCK_I
        each = tl.maximum(
            steps, 1
        )  # a division by 0, even one not reached, may undo the loop's end
        for step in tl.range(0, steps * groups):
            h = kv * groups + step // each
            head = b * heads + h
            start = tile_start(step % each, lo, full_lo, full_hi, lefts, EDGE, BLOCK_I)
            slope = 0.0
            if ALIBI:
                slope = as_score(tl.load(slopes_ptr + b * slopes_b + h * slopes_h), PRECISE)
            q_at = q_ptr + b * q_b + h * q_h
            q = load_tile(q_at, start, line, q_i, queries, WIDTH, BLOCK_D, EDGE, WIDEN)
            qk = tl.dot(k, tl.trans(q), input_precision=PRECISION)
            t, derivative = score_tile(
                qk, start, first, line[None, :], col[:, None], bias_ptr + b * bias_b + h * bias_h,
                bias_i, bias_j, mask_ptr + b * mask_b + h * mask_h, mask_i, mask_j, slope, scale,
                softcap, queries, keys, left, right, shift, SOFTCAP, BIAS, MASK, ALIBI, LEFT,
                RIGHT, EDGE, PRECISE,
            )  # fmt: skip
            lse, share, delta, rest = load_sums(
                lse_ptr, delta_ptr, head * queries, start, line, queries, plane, APART, REST, EDGE
            )
            dout_at = dout_ptr + b * dout_b + h * dout_h
            dout = load_tile(dout_at, start, line, dout_i, queries, V_WIDTH, BLOCK_E, EDGE, WIDEN)
            dp = weight_gradients(v, tl.trans(dout), delta[None, :], DROPOUT, PRECISION)
            key = dropout_key(seed_ptr, head, DROPOUT)
            p, ds = score_gradients(
                t, dp, lse[None, :], share[None, :], delta[None, :], rest[None, :], key,
                start + line[None, :], first + col[:, None], threshold, kept_scale, APART, REST,
                DROPOUT, PRECISE,
            )  # fmt: skip
            if VALUE_GRAD:
                dv = tl.dot(p.to(dout.dtype), dout, dv, input_precision=PRECISION)
            if SOFTCAP:
                ds = ds * derivative
            if KEY_GRAD:
                dk = tl.dot(ds.to(q.dtype), q, dk, input_precision=PRECISION)
    if VALUE_GRAD:
        dv_ptr += b * dv_b + kv * dv_h
        store_tile(dv_ptr, dv, first, col, dv_j, keys, V_WIDTH, BLOCK_E)
    if KEY_GRAD:
        dk_ptr += b * dk_b + kv * dk_h
        store_tile(dk_ptr, dk * dscale, first, col, dk_j, keys, WIDTH, BLOCK_D)


@triton.jit
def queries_backward(
    q_ptr, k_ptr, v_ptr, bias_ptr, mask_ptr, slopes_ptr, seed_ptr, dout_ptr, lse_ptr, delta_ptr,
    sinks_ptr, dq_ptr,
    heads, groups, queries, keys, q_b, q_h, q_i, k_b, k_h, k_j, v_b, v_h, v_j, bias_b, bias_h,
    bias_i, bias_j, mask_b, mask_h, mask_i, mask_j, slopes_b, slopes_h, dout_b, dout_h, dout_i,
    dq_b, dq_h, dq_i,
    plane, left, right, shift, threshold, scale, softcap, kept_scale, dscale,
    WIDTH: tl.constexpr, V_WIDTH: tl.constexpr, SOFTCAP: tl.constexpr, BIAS: tl.constexpr,
    MASK: tl.constexpr, ALIBI: tl.constexpr, DROPOUT: tl.constexpr, LEFT: tl.constexpr,
    RIGHT: tl.constexpr, PRECISE: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    SINKS: tl.constexpr, QUERY_GRAD: tl.constexpr,
    BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """dq of a block of queries, over the same tiles of keys as the forward, or the rest of delta."""
    APART: tl.constexpr = BIAS or MASK == 1 or PRECISE
    REST: tl.constexpr = PRECISE and PRECISION != "tf32" and QUERY_GRAD
    blocks = (queries + BLOCK_I - 1) // BLOCK_I
    number = tl.program_id(0)
    head = (number // blocks).to(tl.int64)
    first = (blocks - 1 - number % blocks) * BLOCK_I
    b, h = head // heads, head % heads
    q_ptr += b * q_b + h * q_h
    k_ptr += b * k_b + h // groups * k_h
    v_ptr += b * v_b + h // groups * v_h
    dout_ptr += b * dout_b + h * dout_h
    bias_ptr += b * bias_b + h * bias_h
    mask_ptr += b * mask_b + h * mask_h
    slope = 0.0
    if ALIBI:
        slope = as_score(tl.load(slopes_ptr + b * slopes_b + h * slopes_h), PRECISE)
    key = dropout_key(seed_ptr, head, DROPOUT)
    line, col = tl.arange(0, BLOCK_I), tl.arange(0, BLOCK_J)
    row = first + line
    q = load_tile(q_ptr, first, line, q_i, queries, WIDTH, BLOCK_D, True, WIDEN)
    dout = load_tile(dout_ptr, first, line, dout_i, queries, V_WIDTH, BLOCK_E, True, WIDEN)
    lse, share, delta, rest = load_sums(
        lse_ptr, delta_ptr, head * queries, first, line, queries, plane, APART, REST, True
    )
    dq = tl.zeros([BLOCK_I, BLOCK_D], tl.float32)
    off = tl.zeros([BLOCK_I], tl.float32)
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
            t, derivative = score_tile(
                qk, first, start, line[:, None], col[None, :], bias_ptr, bias_i, bias_j, mask_ptr,
                mask_i, mask_j, slope, scale, softcap, queries, keys, left, right, shift, SOFTCAP,
                BIAS, MASK, ALIBI, LEFT, RIGHT, EDGE, PRECISE,
            )  # fmt: skip
            v = load_tile(v_ptr, start, col, v_j, keys, V_WIDTH, BLOCK_E, EDGE, WIDEN)
            dp = weight_gradients(dout, tl.trans(v), delta[:, None], DROPOUT, PRECISION)
            _, ds = score_gradients(
                t, dp, lse[:, None], share[:, None], delta[:, None], rest[:, None], key,
                row[:, None], start + col[None, :], threshold, kept_scale, APART, REST, DROPOUT,
                PRECISE,
            )  # fmt: skip
            if QUERY_GRAD:
                if SOFTCAP:
                    ds = ds * derivative
                dq = tl.dot(ds.to(k.dtype), k, dq, input_precision=PRECISION)
            else:
                off += tl.sum(ds, 1)
    if QUERY_GRAD:
        dq_ptr += b * dq_b + h * dq_h
        store_tile(dq_ptr, dq * dscale, first, line, dq_i, queries, WIDTH, BLOCK_D)
    else:
        if SINKS:  # a key whose value is 0
            sink = as_score(tl.load(sinks_ptr + h), PRECISE)
            off -= power(sink - lse, PRECISE) * share * delta
        tl.store(delta_ptr + plane + head * queries + row, off, mask=row < queries)
