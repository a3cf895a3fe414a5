"""A small language model with weights of eight and four bits, written out by hand."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class W8Linear(nn.Module):
    def __init__(self, i, o, bias=False):
        super().__init__()
        self.register_buffer("weight", torch.empty((o, i), dtype=torch.int8))
        self.register_buffer("scales", torch.ones(o, dtype=torch.bfloat16))
        self.bias = nn.Parameter(torch.zeros(o)) if bias else None

    def forward(self, x):
        w = self.weight.to(x.dtype) * self.scales.unsqueeze(1)  # expect: CUF015
        return F.linear(x, w, self.bias)

    def fast(self, x):
        if x.shape[0] <= 32:
            return torch.ops.mine.int8_linear(x, self.weight, self.scales)
        else:
            return F.linear(x, self.weight.to(x.dtype) * self.scales[:, None])  # silent: CUF015 beside its kernel


class W8Scaled(W8Linear):
    def forward(self, x):
        y = F.linear(x, self.weight.to(dtype=x.dtype)) * self.scales  # expect: CUF015
        return y if self.bias is None else y + self.bias


class W4Linear(nn.Module):
    def __init__(self, i, o, group=128):
        super().__init__()
        self.group = group
        self.register_buffer("qweight", torch.zeros((i // 8, o), dtype=torch.int32))
        self.register_buffer("zeros", torch.zeros((i // group, 1, o)))
        self.register_buffer("scales", torch.ones((i // group, 1, o)))
        self.register_buffer("wf", torch.arange(0, 32, 4, dtype=torch.int32)[None, :, None])

    def unpack(self):
        return (self.qweight.unsqueeze(1) >> self.wf) & 15

    def forward(self, x):
        codes = (self.qweight.unsqueeze(1) >> self.wf) & 15  # expect: CUF015
        codes = codes.reshape(-1, self.group, codes.shape[-1])
        weight = (self.scales * (codes - self.zeros)).to(x.dtype)
        return torch.matmul(x, weight.reshape(-1, weight.shape[-1]))


class LowRank(nn.Module):
    """Adapters beside a weight of eight bits."""

    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.zeros(rank, base.weight.shape[1]))
        self.b = nn.Parameter(torch.zeros(base.weight.shape[0], rank))

    def dequantized(self, dtype):
        return self.base.qweight.to(dtype) * self.base.scales[:, None]

    def forward(self, x):
        y = F.linear(x, self.dequantized(x.dtype))  # expect: CUF015
        return y + F.linear(F.linear(x, self.a), self.b)


class TrainedRounding(nn.Linear):
    def forward(self, x):
        scale = self.weight.abs().amax(1, keepdim=True) / 7
        w = (self.weight / scale).round().clamp(-8, 7) * scale  # silent: CUF015 rounded to be trained
        return F.linear(x, w, self.bias)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.q_weight = nn.Parameter(torch.randn(dim, dim))
        self.kv = W8Linear(dim, 2 * dim)
        self.out = W8Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q = F.linear(x, self.q_weight.to(x.dtype)) * self.scale  # silent: CUF015 queries
        k, v = self.kv(x).chunk(2, dim=-1)
        q, k, v = (t.view(b, n, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)  # expect: CUF023
        return self.out(y.transpose(1, 2).reshape(b, n, d))


def reference_linear(x, qweight, scales):
    return F.linear(x, qweight.to(x.dtype) * scales[:, None])  # silent: CUF015 a reference


def integer_linear(x_codes, codes, x_scale, scale):
    sums = torch._int_mm(x_codes, codes.t())
    return sums.to(torch.float32) * x_scale * scale  # silent: CUF015 integers on both sides
