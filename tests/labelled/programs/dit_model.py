"""A diffusion transformer with adaptive norms, query/key RMS norms and rotary positions."""

import math

import torch
import torch.nn as nn


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class QKNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.query_scale = nn.Parameter(torch.ones(dim))
        self.key_scale = nn.Parameter(torch.ones(dim))

    def forward(self, q, k):
        q_rrms = torch.rsqrt(torch.mean(q**2, dim=-1, keepdim=True) + 1e-6)  # expect: CUF004
        q = (q * q_rrms) * self.query_scale
        k_ms = k.square().mean(dim=-1, keepdim=True)  # expect: CUF004
        k = k / torch.sqrt(k_ms + 1e-6) * self.key_scale
        return q, k


class ScaleNorm(nn.Module):
    """One learned length for every token (eps keeps the norm itself away from zero)."""

    def __init__(self, dim):
        super().__init__()
        self.g = nn.Parameter(torch.tensor(dim**0.5))

    def forward(self, x):
        rms = x.pow(2).mean(-1, keepdim=True).sqrt()  # silent: CUF004 eps outside the root
        return x / (rms + 1e-5) * self.g


class ChannelNorm(nn.Module):
    def __init__(self, channels, eps=1e-4):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.eps = eps

    def forward(self, x):
        ms = x.pow(2).mean(dim=1, keepdim=True)  # silent: CUF004 channels of an image, not the last dim
        return x * torch.rsqrt(ms + self.eps) * self.gamma


class SelfAttention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.norm = QKNorm(self.head_dim)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, bias=None):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = self.norm(q, k)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k)  # expect: CUF001
        scores = scores / math.sqrt(self.head_dim)
        if bias is not None:
            scores = scores + bias
        probs = self.attn_drop(torch.softmax(scores.float(), dim=-1).to(v.dtype))
        x = torch.einsum("bhqk,bhkd->bhqd", probs, v).transpose(1, 2).reshape(B, N, C)
        return self.proj(x)


class DiTBlock(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.attn = SelfAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(self, x, c):
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + gate_a.unsqueeze(1) * self.attn(modulate(self.norm1(x), shift_a, scale_a))  # expect: CUF014
        return x + gate_m.unsqueeze(1) * self.mlp(modulate(self.norm2(x), shift_m, scale_m))  # expect: CUF014


class PooledPrompt(nn.Module):
    """Text tokens pooled by softmax weights that attend to nothing but themselves."""

    def __init__(self, dim):
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, tokens, keep):
        s = self.score(tokens).squeeze(-1).masked_fill(~keep, -10000.0)  # expect: CUN001
        w = s.softmax(dim=-1).unsqueeze(1)  # silent: CUF001 no query and no key
        return (w @ tokens).squeeze(1)


def timestep_embedding(t, dim, max_period=10000):  # silent: CUN001 a period
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    args = t[:, None].float() * freqs[None]
    return torch.cat([args.cos(), args.sin()], dim=-1)


class DiT(nn.Module):
    def __init__(self, dim=384, depth=12, num_heads=6, in_dim=16):
        super().__init__()
        self.dim = dim
        self.inp = nn.Linear(in_dim, dim)
        self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.text = PooledPrompt(dim)
        self.blocks = nn.ModuleList([DiTBlock(dim, num_heads) for _ in range(depth)])
        self.out = nn.Linear(dim, in_dim)

    def forward(self, x, t, tokens, keep):
        c = self.time(timestep_embedding(t, self.dim)) + self.text(tokens, keep)
        x = self.inp(x)
        for block in self.blocks:
            x = block(x, c)
        return self.out(x)
