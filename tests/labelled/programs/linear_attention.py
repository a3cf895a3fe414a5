"""Attention in linear time: several kernels, one benchmark table."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn


class EfficientAttention(nn.Module):
    """Softmax over features for queries, over positions for keys; nothing quadratic."""

    def __init__(self, dim, heads=4, dim_head=32):
        super().__init__()
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_qkv = nn.Conv2d(dim, dim_head * heads * 3, 1, bias=False)
        self.to_out = nn.Conv2d(dim_head * heads, dim, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = (rearrange(t, "b (h c) x y -> b h c (x y)", h=self.heads) for t in self.to_qkv(x).chunk(3, dim=1))
        q = q.softmax(dim=-2) * self.scale
        k = k.softmax(dim=-1)
        context = torch.einsum("b h d n, b h e n -> b h d e", k, v)  # silent: CUF001 keys and values first, linear
        out = torch.einsum("b h d e, b h d n -> b h e n", context, q)
        return self.to_out(rearrange(out, "b h c (x y) -> b (h c) x y", x=h, y=w))


class ExpKeys(nn.Module):
    """The same with the exponential written out, as in the first draft of the paper's code."""

    def __init__(self, dim):
        super().__init__()
        self.qkv = nn.Linear(dim, dim * 3)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        k = torch.exp(k)  # expect: CUF002
        k = k / k.sum(dim=1, keepdim=True)
        q = F.softmax(q, dim=-1)
        return q @ (k.transpose(1, 2) @ v)  # silent: CUF001 linear attention


def elu_feature_map(x):
    return F.elu(x) + 1


class EluAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)

    def forward(self, x):
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in self.qkv(x).chunk(3, dim=-1))
        q, k = elu_feature_map(q), elu_feature_map(k)
        kv = k.transpose(-1, -2) @ v
        z = 1 / (q @ k.sum(dim=-2, keepdim=True).transpose(-1, -2) + 1e-6)
        return rearrange((q @ kv) * z, "b h n d -> b n (h d)")


def softmax_kernel(data, projection, is_query, eps=1e-4):
    """The positive random features of Performers."""
    d = data.shape[-1]
    data_dash = torch.einsum("...id,jd->...ij", data * d**-0.25, projection)
    diag = (data**2).sum(dim=-1, keepdim=True) / 2.0 * d**-0.5
    dims = -1 if is_query else (-1, -2)
    top = torch.amax(data_dash, dim=dims, keepdim=True).detach()
    return (torch.exp(data_dash - diag - top) + eps) / math.sqrt(projection.shape[0])  # silent: CUF002 the maximum is subtracted, no sum


class Performer(nn.Module):
    def __init__(self, dim, features=128):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.register_buffer("projection", torch.randn(features, dim))

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k = softmax_kernel(q, self.projection, True), softmax_kernel(k, self.projection, False)
        d_inv = 1.0 / torch.einsum("...nd,...d->...n", q, k.sum(dim=-2))
        return torch.einsum("...de,...nd,...n->...ne", torch.einsum("...nd,...ne->...de", k, v), q, d_inv)


class NystromAttention(nn.Module):
    """Landmarks: three softmax matrices, and only products of them reach the values."""

    def __init__(self, dim, landmarks=64):
        super().__init__()
        self.landmarks, self.scale = landmarks, dim**-0.5
        self.qkv = nn.Linear(dim, dim * 3)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        b, n, d = q.shape
        q = q * self.scale
        q_l = q.reshape(b, self.landmarks, -1, d).mean(dim=2)
        k_l = k.reshape(b, self.landmarks, -1, d).mean(dim=2)
        attn1 = (q @ k_l.mT).softmax(dim=-1)  # either: CUF001 by what is computed, attention whose values are the inverse
        attn2 = (q_l @ k_l.mT).softmax(dim=-1)
        attn3 = (q_l @ k.mT).softmax(dim=-1)  # either: CUF001 attention of the landmarks alone
        return attn1 @ torch.linalg.pinv(attn2) @ (attn3 @ v)


class GatedAttentionUnit(nn.Module):
    """Squared ReLU scores and a gate: attention without a softmax."""

    def __init__(self, dim, key_dim=128):
        super().__init__()
        self.to_hidden = nn.Linear(dim, dim * 4)
        self.to_qk = nn.Linear(dim, key_dim)
        self.gamma = nn.Parameter(torch.ones(2, key_dim))
        self.to_out = nn.Linear(dim * 2, dim)

    def forward(self, x):
        v, gate = F.silu(self.to_hidden(x)).chunk(2, dim=-1)
        qk = F.silu(self.to_qk(x))
        q, k = qk * self.gamma[0], qk * self.gamma[1]
        attn = F.relu(q @ k.transpose(-1, -2) / x.shape[1]) ** 2  # silent: CUF001 squared ReLU in place of softmax
        return self.to_out((attn @ v) * gate)


class GatedSoftmaxAttention(nn.Module):
    """A learned mixture of positions and content (soft gating after the softmax)."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qk = nn.Linear(dim, dim * 2, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.pos_proj = nn.Linear(3, heads)
        self.gating = nn.Parameter(torch.ones(heads))

    def forward(self, x, rel):
        B, N, C = x.shape
        q, k = self.qk(x).reshape(B, N, 2, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        v = self.v(x).reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3)
        patch = (q @ k.transpose(-2, -1)) * C**-0.5  # silent: CUF001 gated after the softmax
        patch = patch.softmax(dim=-1)
        pos = self.pos_proj(rel).permute(0, 3, 1, 2).softmax(dim=-1)
        g = torch.sigmoid(self.gating).view(1, -1, 1, 1)
        attn = (1.0 - g) * patch + g * pos
        return (attn @ v).transpose(1, 2).reshape(B, N, C)
