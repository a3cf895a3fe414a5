"""What the kernels share on the device. Imported by kernels, never before."""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_offset(row, size1, size2, stride0, stride1, stride2, LEVELS: tl.constexpr):
    """The offset of `row` under up to three strides, outermost first (`_rows.Rows`).

    A row of 32 bits is divided in 32 bits, five times as fast, and widened before any product.
    """
    if LEVELS == 1:
        offset = row.to(tl.int64) * stride2
    elif LEVELS == 2:
        outer = row // size2
        offset = outer.to(tl.int64) * stride1 + (row - outer * size2).to(tl.int64) * stride2
    else:
        outer = row // size2
        outermost = outer // size1
        offset = (
            outermost.to(tl.int64) * stride0 + (outer - outermost * size1).to(tl.int64) * stride1
        )
        offset += (row - outer * size2).to(tl.int64) * stride2
    return offset


@triton.jit
def exp(x, PRECISE: tl.constexpr):
    """e^x for x ≤ 0 or NaN; PRECISE to 1 ulp of float32, where the plain form has about 2 + |x|/8.

    x · log₂e is split into a whole number and a rest of two float32 parts, as CUDA's expf does.
    """
    if PRECISE:
        x = tl.where(x < -104.0, -104.0, x)  # e^−104 is 0 in float32; NaN stays
        whole = tl.floor(x * 1.4426950216293335 + 0.5)
        rest = tl.fma(x, 1.4426950216293335, -whole)
        rest = tl.fma(x, 1.925963033500712e-08, rest)
        result = tl.exp2(rest) * tl.exp2(whole)
    else:
        result = tl.exp(x)
    return result


@triton.jit
def inverse_root(x, PRECISE: tl.constexpr):
    """1 / √x; PRECISE with both steps rounded to nearest, by calls that loads cannot pass."""
    if PRECISE:
        result = tl.div_rn(1.0, tl.sqrt_rn(x))
    else:
        result = tl.rsqrt(x)
    return result


@triton.jit
def tanh(x, PRECISE: tl.constexpr):
    """tanh x, to a few ulp near 0 too, where 1 − e^−2|x| would cancel."""
    size = tl.abs(x)
    e = exp(-2.0 * size, PRECISE)
    if PRECISE:
        far = tl.div_rn(1.0 - e, 1.0 + e)
    else:
        far = (1.0 - e) / (1.0 + e)
    square = x * x
    series = tl.fma(square, 0.021869488536155203, -0.05396825396825397)
    series = tl.fma(square, series, 0.13333333333333333)
    series = tl.fma(square, series, -0.3333333333333333)
    near = tl.fma(size * square, series, size)
    result = tl.where(size < 0.25, near, far)
    return tl.where(x < 0.0, -result, result)
