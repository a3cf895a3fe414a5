"""Gated linear attention and flash attention, and the gates between them."""

import torch
import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({}, num_warps=w) for w in (2, 4, 8)], key=["D"])
@triton.jit
def chunk_decay_kernel(k_ptr, g_ptr, out_ptr, T, D: tl.constexpr, BT: tl.constexpr):
    pid = tl.program_id(0).to(tl.int64)
    t = tl.arange(0, BT)
    d = tl.arange(0, D)
    base = pid * BT * D
    g = tl.load(g_ptr + base + t[:, None] * D + d[None, :])
    g_last = tl.load(g_ptr + base + (BT - 1) * D + d)
    k = tl.load(k_ptr + base + t[:, None] * D + d[None, :])
    decay = tl.exp(g_last[None, :] - g)  # silent: CUT001 a decay of cumulative sums
    norm = tl.sum(decay, axis=0)
    tl.store(out_ptr + base + t[:, None] * D + d[None, :], k * decay / norm[None, :])


@triton.jit
def sigmoid_gate_kernel(x_ptr, gate_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    x = tl.load(x_ptr + offs, mask=mask)
    g = tl.load(gate_ptr + offs, mask=mask)
    s = 1.0 / (1.0 + tl.exp(-g))  # silent: CUT001 a sigmoid
    tl.store(y_ptr + offs, x * s, mask=mask)


@triton.jit
def log_gate_kernel(a_ptr, x_ptr, out_ptr, scale, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    a = tl.load(a_ptr + offs, mask=mask, other=0.0)
    x = tl.load(x_ptr + offs, mask=mask, other=0.0)
    w = tl.exp(a * scale)  # silent: CUT001 the sum is over other values
    total = tl.sum(tl.abs(x), axis=0) + 1e-6
    tl.store(out_ptr + offs, w * x / total, mask=mask)


@triton.jit
def flash_kernel(Q, K, V, O, L, scale, T, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    start_m, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows = start_m * BM + tl.arange(0, BM)
    d = tl.arange(0, D)
    q = tl.load(Q + head * T * D + rows[:, None] * D + d[None, :], mask=rows[:, None] < T, other=0.0)
    m_i = tl.full([BM], -float("inf"), tl.float32)
    l_i = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)
    for n in range(0, (start_m + 1) * BM, BN):
        cols = n + tl.arange(0, BN)
        k = tl.load(K + head * T * D + cols[None, :] * D + d[:, None], mask=cols[None, :] < T, other=0.0)
        qk = tl.dot(q, k) * scale * 1.44269504
        qk = tl.where(rows[:, None] >= cols[None, :], qk, -float("inf"))  # silent: CUN001 infinite
        m_new = tl.maximum(m_i, tl.max(qk, 1))
        alpha = tl.math.exp2(m_i - m_new)
        p = tl.math.exp2(qk - m_new[:, None])  # silent: CUT001 a running maximum
        l_i = l_i * alpha + tl.sum(p, 1)
        v = tl.load(V + head * T * D + cols[:, None] * D + d[None, :], mask=cols[:, None] < T, other=0.0)
        acc = acc * alpha[:, None] + tl.dot(p.to(v.dtype), v)
        m_i = m_new
    tl.store(L + head * T + rows, m_i + tl.math.log2(l_i), mask=rows < T)
    tl.store(O + head * T * D + rows[:, None] * D + d[None, :], acc / l_i[:, None], mask=rows[:, None] < T)


@triton.jit
def naive_attention_kernel(Q, K, V, O, scale, T, D: tl.constexpr, BN: tl.constexpr):
    """One query a program, one pass, and no maximum."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, D)
    cols = tl.arange(0, BN)
    q = tl.load(Q + row * D + d)
    k = tl.load(K + cols[:, None] * D + d[None, :], mask=cols[:, None] < T, other=0.0)
    s = tl.sum(q[None, :] * k, axis=1) * scale
    s = tl.where(cols < T, s, -float("inf"))
    p = tl.exp(s)  # expect: CUT001
    p = p / tl.sum(p, axis=0)
    v = tl.load(V + cols[:, None] * D + d[None, :], mask=cols[:, None] < T, other=0.0)
    tl.store(O + row * D + d, tl.sum(p[:, None] * v, axis=0))


@triton.jit
def backward_probs_kernel(S, LSE, DO, DS, T, BM: tl.constexpr, BN: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    cols = tl.arange(0, BN)
    s = tl.load(S + rows[:, None] * T + cols[None, :], mask=cols[None, :] < T, other=-float("inf"))
    lse = tl.load(LSE + rows)
    p = tl.exp(s - lse[:, None])  # silent: CUT001 log-sum-exp is subtracted
    do = tl.load(DO + rows[:, None] * T + cols[None, :], mask=cols[None, :] < T, other=0.0)
    delta = tl.sum(p * do, axis=1)
    tl.store(DS + rows[:, None] * T + cols[None, :], p * (do - delta[:, None]), mask=cols[None, :] < T)


def flash(q, k, v):
    b, h, t, d = q.shape
    o, lse = torch.empty_like(q), torch.empty(b * h, t, device=q.device)
    flash_kernel[(triton.cdiv(t, 64), b * h)](q, k, v, o, lse, d**-0.5, t, D=d, BM=64, BN=64)
    return o, lse


def check(q, k, v):
    o, _ = flash(q, k, v)
    n = q.shape[-2]
    mask = torch.ones(n, n, dtype=torch.bool, device=q.device).tril()
    ref = torch.matmul(q, k.transpose(-1, -2)) * q.shape[-1] ** -0.5  # expect: CUF001
    ref = ref.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    ref = torch.matmul(ref, v)
    return (o - ref).abs().max().item()  # silent: CUS001 a test, no loop


if __name__ == "__main__":
    for length in (64, 128, 1024):
        q, k, v = (torch.randn(2, 4, length, 64, device="cuda", dtype=torch.float16) for _ in range(3))
        print(length, check(q, k, v))
