"""What every attention kernel shares on the device: tiles, scores, dropout. Never imported before.

Scores are kept as log₂e · s, so that a weight is one exp2; in float32, PRECISE, as s, whose highest
is near them without an error, where log₂e · s has been rounded.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import exp, tanh

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def as_score(x, PRECISE: tl.constexpr):
    """`x` in the unit of the scores."""
    x = x.to(tl.float32)
    return x if PRECISE else x * LOG2E


@triton.jit
def power(x, PRECISE: tl.constexpr):
    """e to the `x` that is the difference of two scores."""
    return exp(x, True) if PRECISE else tl.exp2(x)


@triton.jit
def load_tile(
    ptr, start, line, stride, rows, WIDTH: tl.constexpr, BLOCK: tl.constexpr, EDGE: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip
    """Rows `start + line`, [line, BLOCK]; 0 past `rows`, which only an EDGE tile reaches, and WIDTH.

    Offsets within a tile are of 32 bits, `call.near_rows` sees to it: of 64 they fill registers.
    WIDEN is for the interpreter, whose bfloat16 products are wrong.
    """
    col = tl.arange(0, BLOCK)[None, :]
    at = ptr + start.to(tl.int64) * stride + (line[:, None] * stride + col)
    if EDGE and WIDTH != BLOCK:
        tile = tl.load(at, mask=(line < rows - start)[:, None] & (col < WIDTH), other=0.0)
    elif EDGE:
        tile = tl.load(at, mask=(line < rows - start)[:, None], other=0.0)
    elif WIDTH != BLOCK:
        tile = tl.load(at, mask=col < WIDTH, other=0.0)
    else:
        tile = tl.load(at)
    if WIDEN:
        tile = tile.to(tl.float32)
    return tile


@triton.jit
def store_tile(ptr, tile, start, line, stride, rows, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    col = tl.arange(0, BLOCK)[None, :]
    at = ptr + start.to(tl.int64) * stride + (line[:, None] * stride + col)
    mask = (line < rows - start)[:, None]
    if WIDTH != BLOCK:
        mask = mask & (col < WIDTH)
    tl.store(at, tile.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def tile_range(
    first, last, length, left, right, shift, LEFT: tl.constexpr, RIGHT: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The tiles of 0 … length that hold a j with −left ≤ j − i − shift ≤ right, first ≤ i ≤ last.

    Gives (lo, full_lo, full_hi, lefts, edges): the tiles from full_lo to full_hi need no mask;
    `lefts` of the `edges` others begin at lo, the rest at full_hi.
    """
    lo = first * 0
    hi = lo + length
    full_lo, full_hi = lo, hi
    if LEFT:
        lo = tl.maximum(first + shift - left, 0) // BLOCK * BLOCK
        full_lo = (tl.maximum(last + shift - left, 0) + BLOCK - 1) // BLOCK * BLOCK
    if RIGHT:
        hi = tl.minimum(hi, last + shift + right + 1)
        full_hi = tl.minimum(hi, first + shift + right + 1)
    full_hi = tl.maximum(full_hi, 0) // BLOCK * BLOCK
    hi = tl.maximum(hi, lo)
    none = full_hi <= full_lo
    full_lo = tl.where(none, lo, full_lo)
    full_hi = tl.where(none, lo, full_hi)
    lefts = (full_lo - lo) // BLOCK
    return lo, full_lo, full_hi, lefts, lefts + (hi - full_hi + BLOCK - 1) // BLOCK


@triton.jit
def tile_start(step, lo, full_lo, full_hi, lefts, EDGE: tl.constexpr, BLOCK: tl.constexpr):
    """Where tile `step` of the edges begins, or of the full ones."""
    if EDGE:
        start = tl.where(step < lefts, lo + step * BLOCK, full_hi + (step - lefts) * BLOCK)
    else:
        start = full_lo + step * BLOCK
    return start


@triton.jit
def _added(x, PRECISE: tl.constexpr):
    """What is finite stays so: the lowest number of a dtype, all along a row, hides nothing."""
    x = x.to(tl.float32)
    return tl.where(x == -float("inf"), x, as_score(tl.maximum(x, -2.3e38), PRECISE))


@triton.jit
def load_scores(
    ptr, start_i, start_j, line_i, line_j, stride_i, stride_j, queries, keys
):  # fmt: skip
    """A tile of a bias or mask, 0 past the ends."""
    at = ptr + start_i.to(tl.int64) * stride_i + start_j.to(tl.int64) * stride_j
    inside = (line_i < queries - start_i) & (line_j < keys - start_j)
    return tl.load(at + (line_i * stride_i + line_j * stride_j), mask=inside, other=0)


@triton.jit
def score_tile(
    qk, start_i, start_j, line_i, line_j, bias_ptr, bias_i, bias_j, mask_ptr, mask_i, mask_j,
    alibi_slope, scale, softcap, queries, keys, left, right, shift, SOFTCAP: tl.constexpr,
    BIAS: tl.constexpr, MASK: tl.constexpr, ALIBI: tl.constexpr, LEFT: tl.constexpr,
    RIGHT: tl.constexpr, EDGE: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """(the scores, the derivative of the soft cap) of queries start_i + line_i and keys j likewise.

    `scale` and `softcap` come from `operands.score_numbers`. Without EDGE all keys are there and
    the window hides none. tanh x = 1 − 2u with u = 1 / (1 + e^2x), and 1 − tanh² x = 4u (1 − u):
    u is made by rsqrt, one instruction where a division takes eight.

    ALIBI is 2 where no query sees a key behind it: then − slope · |i − j| is slope · (j − i), of which
    all scores of a row leave out slope · (i modulo 128), so that one number a column is added.
    """
    t = qk * scale
    derivative = t
    if SOFTCAP and PRECISE:
        share = tanh(t, True)
        t = softcap * share
        derivative = 1.0 - share * share
    elif SOFTCAP:
        u = tl.rsqrt(1.0 + tl.exp2(t))
        u = u * u
        t = softcap - (2.0 * softcap) * u
        derivative = 4.0 * u - 4.0 * u * u
    if BIAS:
        bias = load_scores(
            bias_ptr, start_i, start_j, line_i, line_j, bias_i, bias_j, queries, keys
        )
        t += _added(bias, PRECISE)
    if MASK != 0:
        mask = load_scores(
            mask_ptr, start_i, start_j, line_i, line_j, mask_i, mask_j, queries, keys
        )
        if MASK == 1:
            t += _added(mask, PRECISE)
        else:
            t = tl.where(mask != 0, t, -float("inf"))
    if ALIBI == 2:
        ahead = start_j + line_j - (start_i // 128 * 128 + (keys - queries))
        t += alibi_slope * ahead.to(tl.float32)
    elif ALIBI:  # whole numbers to 2²⁴ are exact
        from_last = (start_i + line_i + (keys - queries)).to(tl.float32)
        t -= alibi_slope * tl.abs(from_last - (start_j + line_j).to(tl.float32))
    if EDGE:
        seen = line_j < keys - start_j
        past = shift + start_i - start_j  # line_j − line_i would be a tile that fills registers
        if LEFT:
            seen = seen & (line_j >= line_i + (past - left))
        if RIGHT:
            seen = seen & (line_j <= line_i + (past + right))
        t = tl.where(seen, t, -float("inf"))
    return t, derivative


@triton.jit
def _mixed(x):
    """A permutation of 32 bits in which each bit of `x` turns half of the others."""
    x = x ^ (x >> 16)
    x = x * 0x21F0AAAD
    x = x ^ (x >> 15)
    x = x * 0x735A2D97
    return x ^ (x >> 15)


@triton.jit
def dropout_key(seed_ptr, head, DROPOUT: tl.constexpr):
    """The random numbers of batch · heads + head `head`; `dropout.py` says the same in torch."""
    key = tl.full([], 0, tl.uint32)
    if DROPOUT:
        seed = tl.load(seed_ptr)
        key = _mixed(head.to(tl.uint32) ^ seed.to(tl.uint32))
        key = _mixed(key ^ (seed >> 32).to(tl.uint32))
    return key


@triton.jit
def kept(key, i, j, threshold):
    """Where dropout keeps the weight: a number of (key, i, j) alone, whatever the tile."""
    rows = _mixed(i.to(tl.uint32) * 0x9E3779B1 + key)
    cols = _mixed(j.to(tl.uint32) * 0x85EBCA77 + _mixed(key ^ 0x2545F491))
    return _mixed(rows + cols).to(tl.int32, bitcast=True) >= threshold
