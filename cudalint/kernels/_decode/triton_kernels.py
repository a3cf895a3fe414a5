"""Attention to a cache in Triton. Imported by the first launch on a GPU, never before.

Bytes: reads the filled part of both caches once. A program holds all query heads of one key head and
goes over a share of the row's places; what the shares give is added up in a fixed order afterwards.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import exp, tanh


@triton.jit
def _power(x, PRECISE: tl.constexpr):
    """e^x for PRECISE, else 2^x of scores that were multiplied by log₂e."""
    if PRECISE:
        result = exp(x, True)
    else:
        result = tl.exp2(x)
    return result


@triton.jit
def _share(
    number, lengths_ptr, length_step, capacity, left, splits, pairs_of_row,
    TOKENS: tl.constexpr, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """(row's length, first place that any query sees, places of a share) for pair `number`."""
    length = tl.load(lengths_ptr + (number // pairs_of_row).to(tl.int64) * length_step)
    length = tl.minimum(tl.maximum(length, 0), capacity).to(tl.int32)
    first = length * 0
    if WINDOW:
        first = tl.maximum(length - TOKENS - left, 0) // BLOCK_N * BLOCK_N
    blocks = tl.cdiv(length - first, BLOCK_N)
    return length, first, tl.cdiv(blocks, splits) * BLOCK_N


@triton.jit
def _pages(
    table_at, table_step, start, place, inside, pages,
    PAGE: tl.constexpr, PAGE_OF_BLOCK: tl.constexpr,
):  # fmt: skip
    """The page of each place of a block, or the one page of all of them."""
    if PAGE_OF_BLOCK:
        entry = tl.full((), start, tl.int64) // PAGE * table_step
        page = tl.load(table_at + entry)
    else:
        entry = (place // PAGE).to(tl.int64) * table_step
        page = tl.load(table_at + entry, mask=inside, other=0)
    return tl.minimum(tl.maximum(page, 0), pages - 1)


@triton.jit
def _rows_at(at, outer, slot, outer_step, slot_step, col, inside, WIDTH: tl.constexpr):
    """Keys or values of a block's places [BLOCK_N, col.shape]; zeros outside."""
    at += (outer * outer_step + slot.to(tl.int64) * slot_step)[:, None] + col[None, :]
    mask = inside[:, None]
    if col.shape[0] > WIDTH:
        mask = mask & (col < WIDTH)[None, :]
    return tl.load(at, mask=mask, other=0.0)


@triton.jit
def _sum_of_products(a, b, axis: tl.constexpr):
    """In a tree: a product of matrices adds one after the other, which errs too much in float32.

    Σ a·b written so would become such a product, and one in TF32.
    """
    a, b = tl.broadcast(a, b)
    return tl.sum(tl.fma(a, b, tl.zeros(a.shape, tl.float32)), axis)


@triton.jit
def attend(
    q_ptr,
    k_ptr,
    v_ptr,
    table_ptr,
    lengths_ptr,
    parts_ptr,
    out_ptr,
    capacity,
    pages,
    kv_heads,
    splits,
    sums_at,
    scale,
    cap,
    left,
    length_step,
    table_row_step,
    table_step,
    q_row_step,
    q_head_step,
    q_token_step,
    k_outer_step,
    k_head_step,
    k_place_step,
    v_outer_step,
    v_head_step,
    v_place_step,
    GROUP: tl.constexpr,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    PAGE_OF_BLOCK: tl.constexpr,
    SOFTCAP: tl.constexpr,
    WINDOW: tl.constexpr,
    DIRECT: tl.constexpr,
    PRECISE: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """One share of the places of one row, for all query heads of one key head.

    PAGE is 0 for a whole cache; PAGE_OF_BLOCK where a block of places lies in one page. WIDE is for
    the interpreter, whose products of bfloat16 are wrong. DIRECT: there is one share, the result.
    """
    number = tl.program_id(0)
    pair = number // splits
    split = number - pair * splits
    row = (pair // kv_heads).to(tl.int64)
    kv_head = (pair % kv_heads).to(tl.int64)
    length, first, share = _share(
        pair, lengths_ptr, length_step, capacity, left, splits, kv_heads, TOKENS, WINDOW, BLOCK_N
    )
    low = first + split * share
    high = tl.minimum(low + share, length)

    query = tl.arange(0, BLOCK_M)  # heads of the group, and tokens of each
    head, token = kv_head * GROUP + query // TOKENS, query % TOKENS
    is_query = (query < GROUP * TOKENS)[:, None]
    d, e = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_E)
    q_at = q_ptr + row * q_row_step + head * q_head_step + token.to(tl.int64) * q_token_step
    q = tl.load(q_at[:, None] + d[None, :], mask=is_query & (d < WIDTH)[None, :], other=0.0)
    if WIDE:
        q = q.to(tl.float32)

    k_at, v_at = k_ptr + kv_head * k_head_step, v_ptr + kv_head * v_head_step
    table_at = table_ptr + row * table_row_step
    if PAGE == 0:
        k_at += row * k_outer_step
        v_at += row * v_outer_step

    most = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    mean = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    for start in tl.range(low, high, BLOCK_N, num_stages=STAGES):
        place = start + tl.arange(0, BLOCK_N)
        inside = place < high
        slot, outer = place, tl.zeros((BLOCK_N,), tl.int64)
        if PAGE > 0:
            slot = place % PAGE
            outer += _pages(table_at, table_step, start, place, inside, pages, PAGE, PAGE_OF_BLOCK)
        k = _rows_at(k_at, outer, slot, k_outer_step, k_place_step, d, inside, WIDTH)
        v = _rows_at(v_at, outer, slot, v_outer_step, v_place_step, e, inside, VALUE_WIDTH)
        if WIDE:
            k, v = k.to(tl.float32), v.to(tl.float32)
        if PRECISE:
            score = _sum_of_products(q[:, None, :], k[None, :, :], 2) * scale
        else:
            score = tl.dot(q, tl.trans(k)) * scale
        if SOFTCAP:
            score = tanh(score, PRECISE) * cap
        seen = inside[None, :]
        if TOKENS > 1 or WINDOW:
            own = (length - TOKENS + token)[:, None]
            seen = seen & (place[None, :] <= own)
            if WINDOW:
                seen = seen & (place[None, :] >= own - left)
        score = tl.where(seen, score, -float("inf"))
        highest = tl.maximum(most, tl.max(score, 1))
        base = tl.where(highest == -float("inf"), 0.0, highest)
        weight = _power(score - base[:, None], PRECISE)
        shrink = _power(most - base, PRECISE)
        total = total * shrink + tl.sum(weight, 1)
        mean = mean * shrink[:, None]
        if PRECISE:
            mean += _sum_of_products(weight[:, :, None], v[None, :, :], 1)
        else:
            mean = tl.dot(weight.to(v.dtype), v, mean)
        most = highest

    is_value = is_query & (e < VALUE_WIDTH)[None, :]
    if DIRECT:
        mean = mean / tl.where(total == 0.0, 1.0, total)[:, None]
        at = pair.to(tl.int64) * (GROUP * TOKENS) + query
        at = out_ptr + at[:, None] * VALUE_WIDTH + e[None, :]
        tl.store(at, mean.to(out_ptr.dtype.element_ty), mask=is_value)
    else:
        is_used = low < high
        at = number.to(tl.int64) * (GROUP * TOKENS) + query
        sums = parts_ptr + sums_at + at * 2
        used_query = (query < GROUP * TOKENS) & is_used
        tl.store(sums, most, mask=used_query)
        tl.store(sums + 1, total, mask=used_query)
        at = parts_ptr + at[:, None] * VALUE_WIDTH + e[None, :]
        tl.store(at, mean, mask=is_value & is_used)


@triton.jit
def combine(
    parts_ptr,
    lengths_ptr,
    out_ptr,
    capacity,
    kv_heads,
    splits,
    sums_at,
    left,
    length_step,
    QUERIES: tl.constexpr,
    TOKENS: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    WINDOW: tl.constexpr,
    PRECISE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """One query: what its shares gave, added up from the first to the last."""
    number = tl.program_id(0)
    pair = number // QUERIES
    query = number - pair * QUERIES
    length, first, share = _share(
        pair, lengths_ptr, length_step, capacity, left, splits, kv_heads, TOKENS, WINDOW, BLOCK_N
    )
    used = tl.cdiv(length - first, tl.maximum(share, 1))
    e = tl.arange(0, BLOCK_E)
    most = tl.full((1,), -float("inf"), tl.float32)
    total = tl.zeros((1,), tl.float32)
    mean = tl.zeros((BLOCK_E,), tl.float32)
    for start in range(0, used, BLOCK_S):
        split = start + tl.arange(0, BLOCK_S)
        at = (pair.to(tl.int64) * splits + split) * QUERIES + query
        sums = parts_ptr + sums_at + at * 2
        peak = tl.load(sums, mask=split < used, other=-float("inf"))
        weight = tl.load(sums + 1, mask=split < used, other=0.0)
        mask = (split < used)[:, None] & (e < VALUE_WIDTH)[None, :]
        part = tl.load(parts_ptr + at[:, None] * VALUE_WIDTH + e[None, :], mask=mask, other=0.0)
        highest = tl.maximum(most, tl.max(peak, 0))
        base = tl.where(highest == -float("inf"), 0.0, highest)
        shrink = _power(most - base, PRECISE)
        grow = _power(peak - base, PRECISE)
        total = total * shrink + tl.sum(weight * grow, 0)
        mean = mean * shrink + tl.sum(part * grow[:, None], 0)
        most = highest
    mean = mean / tl.where(total == 0.0, 1.0, total)
    at = out_ptr + number.to(tl.int64) * VALUE_WIDTH + e
    tl.store(at, mean.to(out_ptr.dtype.element_ty), mask=e < VALUE_WIDTH)
