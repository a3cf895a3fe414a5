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

# Four bits of each of two numbers, less their zeros, as two numbers of 16 bits: 128, or 1024, with the
# four bits at the end is a number already. Of two int32, %s takes the halves in which the four bits lie.
# %s: the shift, that number, 1, the dtype. The last operand is minus the sum of that number and the zero.
_HALVES = "prmt.b32 t, $1, $2, %s;"
_UNPACK = """{
.reg .b32 t, one;
%s
shr.u32 t, t, %d;
lop3.b32 t, t, 0x000F000F, %s, 0xEA;
mov.b32 one, %s;
fma.rn.%s $0, t, one, $%d;
}"""
_BF16 = ("0x43004300", "0x3F803F80", "bf16x2")
_FP16 = ("0x64006400", "0x3C003C00", "f16x2")


def _unpacking_32(kind: tuple[str, ...]) -> tl.constexpr:
    halves = [_HALVES % half for half in ("0x5410", "0x7632")]
    return tl.constexpr(tuple([_UNPACK % (halves[i // 4], i % 4 * 4, *kind, 3) for i in range(8)]))


def _unpacking_16(kind: tuple[str, ...]) -> tl.constexpr:
    return tl.constexpr(tuple([_UNPACK % ("mov.b32 t, $1;", i * 4, *kind, 2) for i in range(4)]))


_UNPACK_32_BF16 = _unpacking_32(_BF16)
_UNPACK_32_FP16 = _unpacking_32(_FP16)
_UNPACK_16_BF16 = _unpacking_16(_BF16)
_UNPACK_16_FP16 = _unpacking_16(_FP16)


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
def _minus(zero, ZEROS: tl.constexpr, shape: tl.constexpr, dtype: tl.constexpr):
    """Minus the sum of `zero`, an int32, 8 without ZEROS, and of 128 or 1024, whose bits they share."""
    IS_BF16: tl.constexpr = dtype == tl.bfloat16
    if not ZEROS:  # a constant: one that is computed goes through shared memory, and all with it
        result = tl.full(shape, -136.0 if IS_BF16 else -1032.0, dtype)
    else:
        base: tl.constexpr = 0xC300 - 0x10000 if IS_BF16 else 0xE400 - 0x10000
        result = (zero + base).to(tl.int16).to(dtype, bitcast=True)
    return result


@triton.jit
def _less(packed, zero, NTH: tl.constexpr, like, ZEROS: tl.constexpr, WIDE: tl.constexpr):
    """The n-th four bits of each int32 or int16 less `zero`, or 8, in the dtype of `like`."""
    IS_32: tl.constexpr = packed.dtype == tl.int32
    if WIDE or like.dtype == tl.float32:
        weight = _whole(packed.to(tl.int32), NTH)
        if ZEROS:
            weight -= zero.to(tl.float32)
        else:
            weight -= 8.0
    elif like.dtype == tl.bfloat16:
        minus = _minus(zero, ZEROS, packed.shape, tl.bfloat16)
        if IS_32:
            weight = tl.inline_asm_elementwise(
                _UNPACK_32_BF16[NTH], "=r,r,r,r", [packed, minus], tl.bfloat16, True, 2
            )
        else:
            weight = tl.inline_asm_elementwise(
                _UNPACK_16_BF16[NTH], "=r,r,r", [packed, minus], tl.bfloat16, True, 2
            )
    else:
        minus = _minus(zero, ZEROS, packed.shape, tl.float16)
        if IS_32:
            weight = tl.inline_asm_elementwise(
                _UNPACK_32_FP16[NTH], "=r,r,r,r", [packed, minus], tl.float16, True, 2
            )
        else:
            weight = tl.inline_asm_elementwise(
                _UNPACK_16_FP16[NTH], "=r,r,r", [packed, minus], tl.float16, True, 2
            )
    return weight


@triton.jit
def _product(a, b, total, WIDE: tl.constexpr):
    """total + a · b; WIDE is for the interpreter, which has no assembly and no right bfloat16."""
    if WIDE:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="tf32x3")


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
        if not WIDE:
            weight = weight.to(x.dtype)
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
def _piece(words, NTH: tl.constexpr, dtype: tl.constexpr):
    """The n-th of the numbers of `dtype` that 64 bits hold."""
    BITS: tl.constexpr = dtype.primitive_bitwidth
    if BITS == 32:
        bits = (words >> 32 * NTH).to(tl.int32)
    else:
        bits = (words >> 16 * NTH).to(tl.int16)
    return bits.to(dtype, bitcast=True)


@triton.jit
def _gptq_zeros(zeros_at, n, mask, LESS: tl.constexpr):
    """The zeros of outputs `n`, less 8, in float32."""
    bits = tl.load(zeros_at + n // 8, mask=mask, other=0)
    return ((bits >> n % 8 * 4) & 15).to(tl.float32) - (8.0 - LESS)


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

    The i-th four bits of all of them are multiplied with every eighth input from the i-th on. x is read
    64 bits at a time, of which a piece is the i-th of eight inputs: nothing is put in another order.
    The weight is the left operand: the right one may have 8 columns, the left one has 16 rows at least.
    EVEN: blocks fit, nothing is masked but rows. PER_BLOCK groups lie in a block of inputs, or it in
    one; scales and zeros are applied to the sum of a group: Σ x·(q − z) = Σ x·(q − 8) − (z − 8) · Σ x.
    Zeros are stored less LESS; without ZEROS they are 8. x and its rows begin at 8 bytes.
    """
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    PER_WORD: tl.constexpr = 64 // dtype.primitive_bitwidth
    WORDS: tl.constexpr = 8 // PER_WORD
    UNROLL: tl.constexpr = PER_BLOCK if PER_WORD == 4 else 1  # float32 would spill
    number = tl.program_id(0)
    row_block = number % row_blocks
    split = number // row_blocks % splits
    block = number // (row_blocks * splits)
    m = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (block * BLOCK_N + tl.arange(0, BLOCK_N))[:, None]
    is_row, is_output = (m < rows)[None, :], n < outputs
    x_at = x_ptr.to(tl.pointer_type(tl.int64), bitcast=True)
    x_at += m.to(tl.int64)[None, :] * (x_step // PER_WORD)
    low = split * share
    high = tl.minimum(low + share, inputs) // 8
    # of 64 bits is but where a block begins
    block_at = block.to(tl.int64) * BLOCK_N
    within = tl.arange(0, BLOCK_K)[None, :] * outputs + tl.arange(0, BLOCK_N)[:, None]
    ones = tl.full((16, BLOCK_K), 1.0, tl.float32 if WIDE else dtype)
    total = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    for start in tl.range(low // 8, high, BLOCK_K, num_stages=STAGES):
        r = start + tl.arange(0, BLOCK_K)
        packed_at = weight_ptr + (block_at + tl.full((), start, tl.int64) * outputs) + within
        if EVEN:
            packed = tl.load(packed_at)
            inside = is_row
        else:
            packed = tl.load(packed_at, mask=(r < high)[None, :] & is_output, other=0)
            inside = is_row & (r < high)[:, None]
        for j in tl.range(0, PER_BLOCK, loop_unroll_factor=UNROLL):
            of_group = inside
            if PER_BLOCK > 1:  # zeros for inputs outside the group
                of_group = inside & ((r - start) // (BLOCK_K // PER_BLOCK) == j)[:, None]
            part = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
            sums = tl.zeros((16, BLOCK_M), tl.float32)
            for word in tl.static_range(WORDS):
                words = tl.load(x_at + (r * WORDS + word)[:, None], mask=of_group, other=0)
                for i in tl.static_range(PER_WORD):
                    x = _piece(words, i, dtype)
                    weight = _less(packed, packed, word * PER_WORD + i, x, False, WIDE)
                    part = _product(weight, x, part, WIDE)
                    if ZEROS:
                        sums = _product(ones, x, sums, WIDE)
            group = tl.zeros((1, 1), tl.int64) + (start * 8 // group_size + j)
            is_there = is_output & (group < groups)
            scale = tl.load(scales_ptr + (group * outputs + n), mask=is_there, other=0.0)
            if ZEROS:
                zero = _gptq_zeros(zeros_ptr + group * (outputs // 8), n, is_there, LESS)
                part -= zero * (tl.sum(sums, 0)[None, :] * 0.0625)  # 16 times the same
            total += part * scale.to(tl.float32)
    at = (split * rows + m).to(tl.int64)[None, :] * outputs + n
    _store(out_ptr + at, total, bias_ptr, n, is_row & is_output, BIAS)


@triton.jit
def _awq_plane(
    x, packed, bits, scale, total, NTH: tl.constexpr, ZEROS: tl.constexpr, WIDE: tl.constexpr
):
    """Adds the product with the outputs that the n-th four bits of each int16 hold."""
    zero = (bits.to(tl.int32) >> 4 * NTH) & 15
    none = tl.zeros(total.shape, tl.float32)
    part = _product(_less(packed, zero, NTH, x, ZEROS, WIDE), x, none, WIDE)
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
    """`share` inputs of a block of outputs, BLOCK_N int16 of 4 outputs each.

    Of an int32's eight outputs the low half holds the even ones, the high half the odd ones. So as
    halves two inputs of an output are a pair of int16, as tensor cores want them. A block of inputs
    lies in one group. The sums of the four outputs are kept apart. The weight is the left operand, as
    in `gptq`.
    """
    number = tl.program_id(0)
    row_block = number % row_blocks
    split = number // row_blocks % splits
    block = number // (row_blocks * splits)
    m = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
    c = (block * BLOCK_N + tl.arange(0, BLOCK_N))[:, None]
    halves = outputs // 4
    if EVEN:
        halves = tl.multiple_of(halves, BLOCK_N)
    is_row, is_half = (m < rows)[None, :], c < halves
    x_at = x_ptr + m.to(tl.int64)[None, :] * x_step
    weight_at = weight_ptr.to(tl.pointer_type(tl.int16), bitcast=True)
    # of 64 bits is but where a block begins
    block_at = block.to(tl.int64) * BLOCK_N
    within = tl.arange(0, BLOCK_K)[None, :] * halves + tl.arange(0, BLOCK_N)[:, None]
    zeros_at = zeros_ptr.to(tl.pointer_type(tl.int16), bitcast=True) + c
    scales_at = scales_ptr + (c // 2 * 8 + c % 2)
    low = split * share
    high = tl.minimum(low + share, inputs)
    t0 = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    t1, t2, t3 = t0, t0, t0
    for start in tl.range(low, high, BLOCK_K, num_stages=STAGES):
        k = start + tl.arange(0, BLOCK_K)
        at = weight_at + (block_at + tl.full((), start, tl.int64) * halves) + within
        if EVEN:
            x = tl.load(x_at + k[:, None], mask=is_row, other=0.0)
            packed = tl.load(at)
        else:
            x = tl.load(x_at + k[:, None], mask=is_row & (k < high)[:, None], other=0.0)
            packed = tl.load(at, mask=(k < high)[None, :] & is_half, other=0)
        group = tl.zeros((1, 1), tl.int64) + start // group_size
        bits = packed
        if ZEROS:
            bits = tl.load(zeros_at + group * halves, mask=is_half, other=0)
        s_at = scales_at + group * outputs
        s0 = tl.load(s_at, mask=is_half, other=0.0)
        s1 = tl.load(s_at + 2, mask=is_half, other=0.0)
        s2 = tl.load(s_at + 4, mask=is_half, other=0.0)
        s3 = tl.load(s_at + 6, mask=is_half, other=0.0)
        t0 = _awq_plane(x, packed, bits, s0, t0, 0, ZEROS, WIDE)
        t1 = _awq_plane(x, packed, bits, s1, t1, 1, ZEROS, WIDE)
        t2 = _awq_plane(x, packed, bits, s2, t2, 2, ZEROS, WIDE)
        t3 = _awq_plane(x, packed, bits, s3, t3, 3, ZEROS, WIDE)
    # [half, row, plane's low bit, its high bit] to outputs side by side
    total = tl.join(tl.join(t0, t1), tl.join(t2, t3))
    total = tl.reshape(total, (BLOCK_N // 2, 2, BLOCK_M, 2, 2))
    total = tl.reshape(tl.permute(total, (2, 0, 4, 3, 1)), (BLOCK_M, 4 * BLOCK_N))
    n = (block * BLOCK_N * 4 + tl.arange(0, 4 * BLOCK_N))[None, :]
    at = (split * rows + m).to(tl.int64)[:, None] * outputs + n
    _store(out_ptr + at, total, bias_ptr, n, (m < rows)[:, None] & (n < outputs), BIAS)


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
