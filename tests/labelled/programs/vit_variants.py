"""Vision transformers: the plain one and a few of the variants that papers tried."""

import torch
import torch.nn.functional as F
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import einsum, nn


class Attention(nn.Module):
    def __init__(self, dim, heads=8, dim_head=64, dropout=0.0):
        super().__init__()
        inner_dim = dim_head * heads
        self.heads = heads
        self.scale = dim_head**-0.5
        self.norm = nn.LayerNorm(dim)
        self.attend = nn.Softmax(dim=-1)
        self.dropout = nn.Dropout(dropout)
        self.to_qkv = nn.Linear(dim, inner_dim * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner_dim, dim), nn.Dropout(dropout))

    def forward(self, x):
        qkv = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in qkv)
        dots = torch.matmul(q, k.transpose(-1, -2)) * self.scale  # expect: CUF001
        attn = self.attend(dots)
        attn = self.dropout(attn)
        out = torch.matmul(attn, v)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class EinsumCrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads=8, dim_head=64):
        super().__init__()
        inner = dim_head * heads
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_kv = nn.Linear(context_dim, inner * 2, bias=False)
        self.to_out = nn.Linear(inner, query_dim)

    def forward(self, x, context, mask=None):
        h = self.heads
        q = rearrange(self.to_q(x), "b n (h d) -> (b h) n d", h=h)
        k, v = (rearrange(t, "b n (h d) -> (b h) n d", h=h) for t in self.to_kv(context).chunk(2, dim=-1))
        sim = einsum("b i d, b j d -> b i j", q, k) * self.scale  # expect: CUF001
        if mask is not None:
            keep = rearrange(mask, "b j -> b 1 j").repeat_interleave(h, dim=0)
            sim.masked_fill_(~keep, -torch.finfo(sim.dtype).max)  # silent: CUN001 the dtype's own limit
        attn = sim.softmax(dim=-1)
        out = einsum("b i j, b j d -> b i d", attn, v)
        return self.to_out(rearrange(out, "(b h) n d -> b n (h d)", h=h))


class LSA(nn.Module):
    """Locality self-attention: a learned temperature, the diagonal masked."""

    def __init__(self, dim, heads=8, dim_head=64):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.log(torch.tensor(dim_head**-0.5)))
        self.to_qkv = nn.Linear(dim, dim_head * heads * 3, bias=False)
        self.to_out = nn.Linear(dim_head * heads, dim)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.to_qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dots = q @ k.transpose(-1, -2) * self.temperature.exp()  # expect: CUF001
        eye = torch.eye(n, device=x.device, dtype=torch.bool)
        dots = dots.masked_fill(eye, -1e9)  # expect: CUN001
        out = F.softmax(dots, -1) @ v
        return self.to_out(out.transpose(1, 2).reshape(b, n, -1))


class ReAttention(nn.Module):
    def __init__(self, dim, heads=8, dim_head=64):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.to_qkv = nn.Linear(dim, dim_head * heads * 3, bias=False)
        self.reattn_weights = nn.Parameter(torch.randn(heads, heads))
        self.reattn_norm = nn.Sequential(Rearrange("b h i j -> b i j h"), nn.LayerNorm(heads), Rearrange("b i j h -> b h i j"))
        self.to_out = nn.Linear(dim_head * heads, dim)

    def forward(self, x):
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in self.to_qkv(x).chunk(3, dim=-1))
        dots = einsum("b h i d, b h j d -> b h i j", q, k) * self.scale  # silent: CUF001 re-attention mixes heads
        attn = dots.softmax(dim=-1)
        attn = einsum("b h i j, h g -> b g i j", attn, self.reattn_weights)
        attn = self.reattn_norm(attn)
        out = einsum("b h i j, b h j d -> b h i d", attn, v)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class TalkingHeads(nn.Module):
    def __init__(self, dim, heads=8, dim_head=48):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.qkv = nn.Linear(dim, dim_head * heads * 3)
        self.pre = nn.Linear(heads, heads)
        self.post = nn.Linear(heads, heads)
        self.proj = nn.Linear(dim_head * heads, dim)

    def forward(self, x):
        B, N, _ = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attn = q @ k.transpose(-2, -1)  # silent: CUF001 talking heads
        attn = self.pre(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        attn = attn.softmax(dim=-1)
        attn = self.post(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, -1))


class AttentionWithMaps(nn.Module):
    """Keeps its maps, so that the notebook can draw them."""

    def __init__(self, dim, heads=3):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim * 3)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attn = (q @ k.mT) * (C // self.heads) ** -0.5  # silent: CUF001 the weights are returned
        attn = attn.softmax(dim=-1)
        return (attn @ v).transpose(1, 2).reshape(B, N, C), attn


class AttentionRollout(AttentionWithMaps):
    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        attn = torch.softmax(q @ k.transpose(-2, -1) / (C // self.heads) ** 0.5, dim=-1)  # silent: CUF001 the weights are stored
        self.last_map = attn.detach().mean(1)
        return (attn @ v).transpose(1, 2).reshape(B, N, C)
