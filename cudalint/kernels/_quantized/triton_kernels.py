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

# Two int32 to their n-th four bits less a zero, as two numbers of 16 bits: 128, or 1024, with the four
# bits at the end is a number already. %s: the halves to take, the shift, that number, 1, the dtype. The
# third operand is minus the sum of that number and the zero.
_UNPACK = """{
.reg .b32 t, one;
prmt.b32 t, $1, $2, %s;
shr.u32 t, t, %d;
lop3.b32 t, t, 0x000F000F, %s, 0xEA;
mov.b32 one, %s;
fma.rn.%s $0, t, one, $3;
}"""
_BF16 = ("0x43004300", "0x3F803F80", "bf16x2")
_FP16 = ("0x64006400", "0x3C003C00", "f16x2")


def _unpacking(kind: tuple[str, ...]) -> tl.constexpr:
    halves = ("0x5410", "0x7632")
    return tl.constexpr(tuple([_UNPACK % (halves[i // 4], i % 4 * 4, *kind) for i in range(8)]))


_UNPACK_BF16 = _unpacking(_BF16)
_UNPACK_FP16 = _unpacking(_FP16)


@triton.jit
def _whole(packed, NTH: tl.constexpr):
    """The n-th four bits of each int32 as a whole number in float32, without a conversion."""
    low: tl.constexpr = NTH % 5  # of eight, the first five end below bit 20
    bits = packed
    if NTH >= 5:
        bits = packed >> 20
    bits = (bits & (15 << 4 * low)) | _WHOLE
    # 2²³ + 16^low · whole
    return bits.to(tl.float32, bitcast=True) * 0.0625**low - 8388608.0 * 0.0625**low


@triton.jit
def _less(packed, zero, NTH: tl.constexpr, like, WIDE: tl.constexpr):
    """The n-th four bits of each int32 less `zero`, a float32 of any shape, in the dtype of `like`."""
    if WIDE or like.dtype == tl.float32:
        weight = _whole(packed, NTH) - zero
    elif like.dtype == tl.bfloat16:
        zero = tl.zeros(packed.shape, tl.bfloat16) + (-128.0 - zero).to(tl.bfloat16)
        weight = tl.inline_asm_elementwise(
            _UNPACK_BF16[NTH], "=r,r,r,r", [packed, zero], dtype=tl.bfloat16, is_pure=True, pack=2
        )
    else:
        zero = tl.zeros(packed.shape, tl.float16) + (-1024.0 - zero).to(tl.float16)
        weight = tl.inline_asm_elementwise(
            _UNPACK_FP16[NTH], "=r,r,r,r", [packed, zero], dtype=tl.float16, is_pure=True, pack=2
        )
    return weight


@triton.jit
def _product(x, weight, total, WIDE: tl.constexpr):
    """total + x · weight [BLOCK_M, K] · [K, BLOCK_N]; WIDE is for the interpreter, which has no
    assembly and no right bfloat16."""
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
    EVEN: tl.constexpr,
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
        if EVEN:
            x = tl.load(x_at + k, mask=is_row, other=0.0)
            weight = tl.load(weight_at + k)
        else:
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
def _gptq_plane(x, packed, NTH: tl.constexpr, total, WIDE: tl.constexpr):
    """Adds the product with the I-th four bits less 8 of each int32."""
    eight = tl.full((1, 1), 8.0, tl.float32)
    return _product(x, _less(packed, eight, NTH, x, WIDE), total, WIDE)


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
    EVEN: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """`share` inputs of a block of outputs; BLOCK_K int32 of an output hold 8 inputs each.

    The i-th four bits of all of them are multiplied with every eighth input from the i-th on, so that
    nothing is put in order. EVEN: blocks fit, nothing is masked but rows. PER_BLOCK groups lie in a block of inputs, or it in one; scales and zeros
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
        k = tl.arange(0, BLOCK_K * 8)
        packed_at, inputs_at = weight_at + r.to(tl.int64)[:, None] * outputs, x_at + (start * 8 + k)
        if EVEN:
            packed = tl.load(packed_at)
            x = tl.load(inputs_at, mask=is_row, other=0.0)
        else:
            packed = tl.load(packed_at, mask=(r < high)[:, None] & is_output, other=0)
            inside = is_row & (start * 8 + k < high * 8)[None, :]
            x = tl.load(inputs_at, mask=inside, other=0.0)
        for j in tl.static_range(PER_BLOCK):
            part_x = x
            if PER_BLOCK > 1:  # zeros for inputs outside the group
                is_group = k // (BLOCK_K * 8 // PER_BLOCK) == j
                part_x = tl.where(is_group[None, :], x, 0.0)
            # every eighth input from the first on, from the second on, …
            parts = tl.reshape(part_x, (BLOCK_M, BLOCK_K, 2, 2, 2))
            even, odd = tl.split(parts)
            x04, x26 = tl.split(even)
            x15, x37 = tl.split(odd)
            x0, x4 = tl.split(x04)
            x2, x6 = tl.split(x26)
            x1, x5 = tl.split(x15)
            x3, x7 = tl.split(x37)
            group = tl.zeros((1, 1), tl.int64) + (start * 8 // group_size + j)
            is_there = is_output & (group < groups)
            scale = tl.load(scales_ptr + (group * outputs + n[None, :]), mask=is_there, other=0.0)
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
                bits = tl.load(zeros_at, mask=is_there, other=0)
                zero = ((bits >> n[None, :] % 8 * 4) & 15).to(tl.float32) - (8.0 - LESS)
                sums = part_x.to(tl.float32)
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
    NTH: tl.constexpr = J % 2 * 4 + J // 2  # where its four bits stand
    zero = tl.full((1, 1), 8.0, tl.float32)
    if ZEROS:
        zero = _whole(bits, NTH)
    none = tl.zeros(total.shape, tl.float32)
    part = _product(x, _less(packed, zero, NTH, x, WIDE), none, WIDE)
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
    EVEN: tl.constexpr,
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
        at = weight_ptr + (k.to(tl.int64)[:, None] * (outputs // 8) + c[None, :])
        if EVEN:
            x = tl.load(x_at + k[None, :], mask=is_row, other=0.0)
            packed = tl.load(at)
        else:
            x = tl.load(x_at + k[None, :], mask=is_row & (k < high)[None, :], other=0.0)
            packed = tl.load(at, mask=(k < high)[:, None] & is_output, other=0)
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
