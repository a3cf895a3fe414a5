"""Row kernels: softmaxes, norms and losses, one program a row."""

import torch
import triton
import triton.language as tl
from triton.language import exp as texp


@triton.jit
def softmax_kernel(out_ptr, in_ptr, in_stride, out_stride, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(in_ptr + row * in_stride + cols, mask=cols < n_cols, other=-float("inf"))
    e = tl.exp(x - tl.max(x, axis=0))  # silent: CUT001 the maximum is subtracted
    y = e / tl.sum(e, axis=0)
    tl.store(out_ptr + row * out_stride + cols, y, mask=cols < n_cols)


@triton.jit
def quick_softmax_kernel(out_ptr, in_ptr, stride, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf")).to(tl.float32)
    num = tl.exp(x)  # expect: CUT001
    den = tl.sum(num, axis=0)
    tl.store(out_ptr + row * stride + cols, num / den, mask=cols < n_cols)


@triton.jit
def base2_softmax_kernel(out_ptr, in_ptr, stride, n_cols, scale, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf"))
    x = x * scale * 1.44269504
    p = tl.math.exp2(x)  # expect: CUT001
    tl.store(out_ptr + row * stride + cols, p / tl.sum(p, 0), mask=cols < n_cols)


@triton.jit
def clamped_softmax_kernel(out_ptr, in_ptr, stride, n_cols, BLOCK: tl.constexpr):
    """An element-wise maximum is no row maximum."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    keep = cols < n_cols
    x = tl.load(in_ptr + row * stride + cols, mask=keep, other=0.0)
    x = tl.maximum(x, 0.0)
    e = tl.where(keep, texp(x), 0.0)  # expect: CUT001
    tl.store(out_ptr + row * stride + cols, e / tl.sum(e, axis=0), mask=keep)


@triton.jit
def online_softmax_kernel(out_ptr, in_ptr, stride, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    m = -float("inf")
    d = 0.0
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        x = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf"))
        m_new = tl.maximum(m, tl.max(x, axis=0))
        d = d * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new), axis=0)  # silent: CUT001 a running maximum
        m = m_new
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        x = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf"))
        tl.store(out_ptr + row * stride + cols, tl.exp(x - m) / d, mask=cols < n_cols)  # silent: CUT001 a running maximum


@triton.jit
def softmin_kernel(out_ptr, in_ptr, stride, n_cols, BLOCK: tl.constexpr):
    """A negation does not bound anything either."""
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=float("inf"))
    w = tl.exp(-x)  # expect: CUT001
    total = tl.sum(w)
    w = w / total
    tl.store(out_ptr + row * stride + cols, w, mask=cols < n_cols)


@triton.jit
def cross_entropy_kernel(logits_ptr, labels_ptr, lse_ptr, grad_ptr, stride, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(logits_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf"))
    label = tl.load(labels_ptr + row)
    lse = tl.load(lse_ptr + row)
    p = tl.exp(x - lse)  # silent: CUT001 log-sum-exp is subtracted
    p = tl.where(cols == label, p - 1.0, p)
    tl.store(grad_ptr + row * stride + cols, p, mask=cols < n_cols)


@triton.jit
def rms_norm_kernel(y_ptr, x_ptr, w_ptr, stride, n_cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + cols, mask=cols < n_cols)
    rstd = tl.rsqrt(tl.sum(x * x, axis=0) / n_cols + eps)  # silent: CUF004 the kernel itself
    tl.store(y_ptr + row * stride + cols, x * rstd * w, mask=cols < n_cols)


@triton.jit
def row_max(x):
    return tl.max(x, axis=0)


@triton.jit
def helper_softmax_kernel(out_ptr, in_ptr, stride, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    x = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf"))
    top = row_max(x)
    z = x - top
    e = tl.exp(z)  # silent: CUT001 the helper takes the maximum
    tl.store(out_ptr + row * stride + cols, e / tl.sum(e, axis=0), mask=cols < n_cols)


def _rows(out_ptr, in_ptr, stride, n_cols, TEMPERATURE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    logits = tl.load(in_ptr + row * stride + cols, mask=cols < n_cols, other=-float("inf"))
    logits = logits / TEMPERATURE
    weights = tl.exp(logits)  # expect: CUT001
    inv = 1.0 / tl.sum(weights, axis=0)
    tl.store(out_ptr + row * stride + cols, weights * inv, mask=cols < n_cols)


temperature_kernel = triton.jit(_rows)


def softmax(x):
    rows, cols = x.shape
    y = torch.empty_like(x)
    softmax_kernel[(rows,)](y, x, x.stride(0), y.stride(0), cols, BLOCK=triton.next_power_of_2(cols))
    return y


def host_softmax(x):
    e = torch.exp(x - x.amax(-1, keepdim=True))  # expect: CUF003  # silent: CUT001, CUF002 torch on the host, the maximum subtracted
    return e / e.sum(-1, keepdim=True)
