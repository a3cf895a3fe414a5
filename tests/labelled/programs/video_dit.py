"""A video transformer with its own norms: modulated blocks, a router, a pooled prompt."""

import torch
import torch.nn.functional as F
from torch import nn


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class TokenNorm(nn.Module):
    """A layer norm as it was written before there was one."""

    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)  # expect: CUF005
        var = x.var(dim=-1, keepdim=True, unbiased=False)
        return self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta


class UnbiasedNorm(TokenNorm):
    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)  # silent: CUF005 the variance divides by n - 1
        var = x.var(dim=-1, keepdim=True)
        return self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta


class AnnotatedNorm(TokenNorm):
    def forward(self, x):
        mean = x.mean(-1, keepdim=True)  # silent: CUF005 a deviation, with eps outside of it
        std = x.std(-1, keepdim=True)
        return self.gamma * (x - mean) / (std + self.eps) + self.beta


class ChannelNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        u = x.mean(1, keepdim=True)  # silent: CUF005 over the channels of an image
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def whiten(x):
    centred = x.float() - x.float().mean(-1, keepdim=True)  # expect: CUF005
    return (centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def whiten_batch(x):
    centred = x - x.mean(0)  # silent: CUF005 over the batch
    return centred * torch.rsqrt(centred.square().mean(0) + 1e-5)


def normed_rows(x):
    var, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)  # expect: CUF005
    return torch.rsqrt(var + 1e-6) * (x - mean)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # expect: CUF023


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x, c):
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.table + c[:, None]).chunk(6, dim=1)
        y = self.norm1(x)  # expect: CUF014
        y = y * (1 + scale1) + shift1
        x = x + gate1 * self.attn(y)  # expect: CUF014
        y = (self.norm2(x.float()) * (1 + scale2) + shift2).type_as(x)  # expect: CUF014
        return x + gate2 * self.mlp(y)  # expect: CUF014


class Router(nn.Module):
    """Which expert takes a token; the softmaxes were tuned by hand once."""

    def __init__(self, dim, experts):
        super().__init__()
        self.gate = nn.Linear(dim, experts)
        self.register_buffer("highest", torch.zeros(()))

    def forward(self, x):
        logits = self.gate(x)
        e = torch.exp(logits - logits.max(dim=-1, keepdim=True).values)  # expect: CUF003
        return e / e.sum(dim=-1, keepdim=True)

    def balanced(self, x):
        logits = self.gate(x)
        per_token = (logits - logits.amax(-1, keepdim=True)).exp()  # silent: CUF003 the sum is over tokens
        return per_token / per_token.sum(0, keepdim=True)

    def smoothed(self, x):
        logits = self.gate(x)
        self.highest = torch.maximum(self.highest, logits.max().detach())
        e = torch.exp(logits - self.highest)  # silent: CUF003 a running maximum
        return e / e.sum(-1, keepdim=True)

    def free_energy(self, x):
        logits = self.gate(x)
        energy = torch.logsumexp(logits, -1, keepdim=True)
        return torch.exp(logits - energy), energy  # silent: CUF003 the log-sum-exp is wanted too


def pooled(x, score):
    top, _ = score.max(1, keepdim=True)  # expect: CUF003
    weights = torch.exp(score - top)
    weights = weights / weights.sum(1, keepdim=True)
    return (x * weights).sum(1)


def posterior(log_joint):
    return torch.exp(log_joint - torch.logsumexp(log_joint, dim=-1, keepdim=True))  # expect: CUF003


def sharpened(x, temperature):
    x = x / temperature
    e = (x - x.max()).exp()  # expect: CUF003
    return e / e.sum(-1, keepdim=True)


def decays(g):
    return torch.exp(g - g.max(-1, keepdim=True)[0])  # silent: CUF003 nothing is divided


class LumaBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.ffn_norm = nn.RMSNorm(dim, eps=1e-5)
        self.group_norm = nn.GroupNorm(8, dim)
        self.linear = nn.Linear(dim, 2 * dim)
        self.scale, self.shift = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x, c, image):
        scale, shift = self.linear(F.silu(c)).chunk(2, dim=1)
        gated = self.ffn_norm(x) * (1 + scale.unsqueeze(1))  # silent: CUF014 no shift
        affine = self.ffn_norm(x) * (1 + self.scale) + self.shift  # silent: CUF014 parameters
        spade = self.group_norm(image) * (1 + scale[..., None, None]) + shift[..., None, None]  # silent: CUF014 groups
        film = self.ffn_norm(x) * scale.unsqueeze(1) + shift.unsqueeze(1)  # silent: CUF014 no 1 +
        return gated, affine, spade, film


class Head(nn.Module):
    def __init__(self, dim, out):
        super().__init__()
        self.linear = nn.Linear(dim, out)
        self.to_modulation = nn.Linear(dim, 2 * dim)

    def forward(self, x, c):
        shift, scale = self.to_modulation(F.silu(c)).chunk(2, dim=-1)
        x = modulate(F.layer_norm(x, (x.shape[-1],), eps=1e-6), shift, scale)  # expect: CUF014
        return self.linear(x)


class Refiner(nn.Module):
    """Refines tokens before the blocks see them; half of its norms come after the sum."""

    def __init__(self, dim, tokens, post=False):
        super().__init__()
        self.post = post
        self.position = nn.Parameter(torch.zeros(1, tokens, dim))
        self.norm_in, self.norm_mid, self.norm_out = (nn.LayerNorm(dim) for _ in range(3))
        self.norm_mlp = nn.RMSNorm(dim, eps=1e-6)
        self.mix, self.mlp = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x):
        x = x + self.position  # silent: CUF006 a position embedding
        x = x + self.mix(F.layer_norm(x, (x.shape[-1],)))  # expect: CUF006
        normed = self.norm_mlp(x)
        x = x + self.mlp(normed)  # silent: CUF006 the norm is under a condition
        if self.post:
            x = self.norm_mlp(x)
        return x

    def compared(self, x, y):
        h = x + y  # silent: CUF006 two inputs
        return h, self.norm_mlp(h)

    def post_norm(self, x):
        x = x + self.mlp(x)  # silent: CUF006 only the norm needs it
        return self.norm_mlp(x)


class VideoDiT(nn.Module):
    def __init__(self, dim=384, depth=8, heads=6, latent=16):
        super().__init__()
        self.patch = nn.Linear(latent, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.head = Head(dim, latent)

    def forward(self, x, c):
        x = self.patch(x)
        for block in self.blocks:
            x = block(x, c)
        return self.head(x, c)
