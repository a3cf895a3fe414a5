"""Products with integer weights in Triton. Imported by the first launch on a GPU, never before.

Bytes: reads the weight once, as it is packed. For few rows of x: a program holds all of them and a
block of outputs, and goes over a share of the inputs; a second kernel adds the shares in a fixed order.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

# 2²³ as float32: its last bits are a whole number's
_WHOLE = tl.constexpr(0x4B000000)


@triton.jit
def _nibble(packed, shift):
    """Four bits of each int32 as 2²³ + value in float32: two operations, no conversion."""
    return (((packed >> shift) & 15) | _WHOLE).to(tl.float32, bitcast=True)


@triton.jit
def _product(x, weight, total, WIDE: tl.constexpr):
    """total + x · weight [BLOCK_M, K] · [K, BLOCK_N]; WIDE is for the interpreter's bfloat16."""
    if WIDE:
        x, weight = x.to(tl.float32), weight.to(tl.float32)
    else:
        weight = weight.to(x.dtype)
    return tl.dot(x, weight, total, input_precision="tf32x3")


@triton.jit
def _store(at, total, bias_ptr, column, mask, BIAS: tl.constexpr):
    if BIAS:
        total += tl.load(bias_ptr + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(at, total.to(at.dtype.element_ty), mask=mask)


@triton.jit
def int8(
    x_ptr,
    weight_ptr,
    scales_ptr,
    zeros_ptr,
    bias_ptr,
    out_ptr,
    rows,
    outputs,
    inputs,
    row_blocks,
    splits,
    share,
    x_step,
    group_size,
    groups,
    GROUPED: tl.constexpr,
    BIAS: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """`share` inputs of a block of outputs. A block of inputs lies in one group where GROUPED."""
    number = tl.program_id(0)
    row_block = number % row_blocks
    split = number // row_blocks % splits
    block = number // (row_blocks * splits)
    m = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row, is_output = (m < rows)[:, None], n < outputs
    x_at = x_ptr + m.to(tl.int64)[:, None] * x_step
    weight_at = weight_ptr + n.to(tl.int64)[:, None] * inputs
    scales_at = scales_ptr + n.to(tl.int64) * groups
    low = split * share
    high = tl.minimum(low + share, inputs)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in tl.range(low, high, BLOCK_K, num_stages=STAGES):
        k = (start + tl.arange(0, BLOCK_K))[None, :]
        x = tl.load(x_at + k, mask=is_row & (k < high), other=0.0)
        weight = tl.load(weight_at + k, mask=is_output[:, None] & (k < high), other=0)
        weight = tl.trans(weight)
        if GROUPED:
            scale = tl.load(scales_at + start // group_size, mask=is_output, other=0.0)
            none = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
            total += _product(x, weight, none, WIDE) * scale.to(tl.float32)[None, :]
        else:
            total = _product(x, weight, total, WIDE)
    if not GROUPED:
        total *= tl.load(scales_at, mask=is_output, other=0.0).to(tl.float32)[None, :]
    at = (split * rows + m).to(tl.int64)[:, None] * outputs + n[None, :]
    _store(out_ptr + at, total, bias_ptr, n[None, :], is_row & is_output[None, :], BIAS)


@triton.jit
def _every_eighth(x_at, r, i, inside):
    return tl.load(x_at + (r[None, :] * 8 + i), mask=inside, other=0.0)


@triton.jit
def _gptq_plane(x, packed, i: tl.constexpr, total, WIDE: tl.constexpr):
    """Adds the product with the i-th four bits less 8 of each int32."""
    return _product(x, _nibble(packed, i * 4) - 8388616.0, total, WIDE)


@triton.jit
def gptq(
    x_ptr,
    weight_ptr,
    scales_ptr,
    zeros_ptr,
    bias_ptr,
    out_ptr,
    rows,
    outputs,
    inputs,
    row_blocks,
    splits,
    share,
    x_step,
    group_size,
    groups,
    PER_BLOCK: tl.constexpr,
    ZEROS: tl.constexpr,
    LESS: tl.constexpr,
    BIAS: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """`share` inputs of a block of outputs; BLOCK_K int32 of an output hold 8 inputs each.

    The i-th four bits of all of them are multiplied with every eighth input from the i-th on, so that
    nothing is put in order. PER_BLOCK groups lie in a block of inputs, or it in one; scales and zeros
    are applied to the sum of a group: Σ x·(q − z) = Σ x·(q − 8) − (z − 8) · Σ x. Then nothing but the
    packed numbers is needed in the order of a tensor core's operand, and they go straight there.
    Zeros are stored less LESS; without ZEROS they are 8.
    """
    number = tl.program_id(0)
    row_block = number % row_blocks
    split = number // row_blocks % splits
    block = number // (row_blocks * splits)
    m = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row, is_output = (m < rows)[:, None], (n < outputs)[None, :]
    x_at = x_ptr + m.to(tl.int64)[:, None] * x_step
    weight_at = weight_ptr + n[None, :]
    low = split * share
    high = tl.minimum(low + share, inputs) // 8
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in tl.range(low // 8, high, BLOCK_K, num_stages=STAGES):
        r = start + tl.arange(0, BLOCK_K)
        mask = (r < high)[:, None] & is_output
        packed = tl.load(weight_at + r.to(tl.int64)[:, None] * outputs, mask=mask, other=0)
        for j in tl.static_range(PER_BLOCK):
            inside = is_row & (r < high)[None, :]
            if PER_BLOCK > 1:  # zeros for x outside the group
                inside = inside & (tl.arange(0, BLOCK_K) // (BLOCK_K // PER_BLOCK) == j)[None, :]
            # all reads first: what waits for one waits for all
            x0 = _every_eighth(x_at, r, 0, inside)
            x1 = _every_eighth(x_at, r, 1, inside)
            x2 = _every_eighth(x_at, r, 2, inside)
            x3 = _every_eighth(x_at, r, 3, inside)
            x4 = _every_eighth(x_at, r, 4, inside)
            x5 = _every_eighth(x_at, r, 5, inside)
            x6 = _every_eighth(x_at, r, 6, inside)
            x7 = _every_eighth(x_at, r, 7, inside)
            group = tl.zeros((1, 1), tl.int64) + (start * 8 // group_size + j)
            is_group = is_output & (group < groups)
            scale = tl.load(scales_ptr + (group * outputs + n[None, :]), mask=is_group, other=0.0)
            part = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
            part = _gptq_plane(x0, packed, 0, part, WIDE)
            part = _gptq_plane(x1, packed, 1, part, WIDE)
            part = _gptq_plane(x2, packed, 2, part, WIDE)
            part = _gptq_plane(x3, packed, 3, part, WIDE)
            part = _gptq_plane(x4, packed, 4, part, WIDE)
            part = _gptq_plane(x5, packed, 5, part, WIDE)
            part = _gptq_plane(x6, packed, 6, part, WIDE)
            part = _gptq_plane(x7, packed, 7, part, WIDE)
            if ZEROS:
                zeros_at = zeros_ptr + (group * (outputs // 8) + n[None, :] // 8)
                bits = tl.load(zeros_at, mask=is_group, other=0)
                zero = _nibble(bits, n[None, :] % 8 * 4) - (8388616.0 - LESS)
                sums = (x0.to(tl.float32) + x1.to(tl.float32)) + (
                    x2.to(tl.float32) + x3.to(tl.float32)
                )
                sums += (x4.to(tl.float32) + x5.to(tl.float32)) + (
                    x6.to(tl.float32) + x7.to(tl.float32)
                )
                part -= tl.sum(sums, 1)[:, None] * zero
            total += part * scale.to(tl.float32)
    at = (split * rows + m).to(tl.int64)[:, None] * outputs + n[None, :]
    _store(out_ptr + at, total, bias_ptr, n[None, :], is_row & is_output, BIAS)


@triton.jit
def _awq_plane(
    x, packed, bits, scales_at, bias_ptr, total, mask, J: tl.constexpr, ZEROS: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Adds the product with every eighth output from J on, which four bits of each int32 hold."""
    shift: tl.constexpr = J % 2 * 16 + J // 2 * 4
    zero = 8388608.0 + 8.0
    if ZEROS:
        zero = _nibble(bits, shift)
    none = tl.zeros(total.shape, tl.float32)
    part = _product(x, _nibble(packed, shift) - zero, none, WIDE)
    scale = tl.load(scales_at + J, mask=mask, other=0.0)
    return total + part * scale.to(tl.float32)


@triton.jit
def awq(
    x_ptr,
    weight_ptr,
    scales_ptr,
    zeros_ptr,
    bias_ptr,
    out_ptr,
    rows,
    outputs,
    inputs,
    row_blocks,
    splits,
    share,
    x_step,
    group_size,
    groups,
    ZEROS: tl.constexpr,
    BIAS: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """`share` inputs of a block of outputs, BLOCK_N int32 of 8 outputs each.

    A block of inputs lies in one group. The sums of the eight outputs are kept apart.
    """
    number = tl.program_id(0)
    row_block = number % row_blocks
    split = number // row_blocks % splits
    block = number // (row_blocks * splits)
    m = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
    c = block * BLOCK_N + tl.arange(0, BLOCK_N)
    is_row, is_output = (m < rows)[:, None], (c < outputs // 8)[None, :]
    x_at = x_ptr + m.to(tl.int64)[:, None] * x_step
    low = split * share
    high = tl.minimum(low + share, inputs)
    t0 = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    t1, t2, t3, t4, t5, t6, t7 = t0, t0, t0, t0, t0, t0, t0
    for start in tl.range(low, high, BLOCK_K, num_stages=STAGES):
        k = start + tl.arange(0, BLOCK_K)
        x = tl.load(x_at + k[None, :], mask=is_row & (k < high)[None, :], other=0.0)
        mask = (k < high)[:, None] & is_output
        at = k.to(tl.int64)[:, None] * (outputs // 8) + c[None, :]
        packed = tl.load(weight_ptr + at, mask=mask, other=0)
        group = tl.zeros((1, 1), tl.int64) + start // group_size
        bits = packed
        if ZEROS:
            bits = tl.load(
                zeros_ptr + (group * (outputs // 8) + c[None, :]), mask=is_output, other=0
            )
        s_at = scales_ptr + (group * outputs + c[None, :] * 8)
        t0 = _awq_plane(x, packed, bits, s_at, bias_ptr, t0, is_output, 0, ZEROS, WIDE)
        t1 = _awq_plane(x, packed, bits, s_at, bias_ptr, t1, is_output, 1, ZEROS, WIDE)
        t2 = _awq_plane(x, packed, bits, s_at, bias_ptr, t2, is_output, 2, ZEROS, WIDE)
        t3 = _awq_plane(x, packed, bits, s_at, bias_ptr, t3, is_output, 3, ZEROS, WIDE)
        t4 = _awq_plane(x, packed, bits, s_at, bias_ptr, t4, is_output, 4, ZEROS, WIDE)
        t5 = _awq_plane(x, packed, bits, s_at, bias_ptr, t5, is_output, 5, ZEROS, WIDE)
        t6 = _awq_plane(x, packed, bits, s_at, bias_ptr, t6, is_output, 6, ZEROS, WIDE)
        t7 = _awq_plane(x, packed, bits, s_at, bias_ptr, t7, is_output, 7, ZEROS, WIDE)
    mask = is_row & is_output
    at = out_ptr + ((split * rows + m).to(tl.int64)[:, None] * outputs + c[None, :] * 8)
    n = c[None, :] * 8
    _store(at, t0, bias_ptr, n, mask, BIAS)
    _store(at + 1, t1, bias_ptr, n + 1, mask, BIAS)
    _store(at + 2, t2, bias_ptr, n + 2, mask, BIAS)
    _store(at + 3, t3, bias_ptr, n + 3, mask, BIAS)
    _store(at + 4, t4, bias_ptr, n + 4, mask, BIAS)
    _store(at + 5, t5, bias_ptr, n + 5, mask, BIAS)
    _store(at + 6, t6, bias_ptr, n + 6, mask, BIAS)
    _store(at + 7, t7, bias_ptr, n + 7, mask, BIAS)


@triton.jit
def add_shares(
    parts_ptr,
    bias_ptr,
    out_ptr,
    count,
    outputs,
    splits,
    BIAS: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The products of all shares, always in the same order, and the bias."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    split = tl.arange(0, BLOCK_S)
    mask = at < count
    parts = split.to(tl.int64)[:, None] * count + at[None, :]
    parts = tl.load(parts_ptr + parts, mask=(split < splits)[:, None] & mask[None, :], other=0.0)
    _store(out_ptr + at, tl.sum(parts, 0), bias_ptr, at % outputs, mask, BIAS)
