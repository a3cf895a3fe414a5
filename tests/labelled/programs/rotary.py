"""Positions in attention: rotary embeddings in several spellings, and what else uses sines."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def apply_rotary_pos_emb(q, k, cos, sin):
    q_embed = (q * cos) + (rotate_half(q) * sin)  # expect: CUF009
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def apply_complex(x, freqs_cis):
    x_ = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))  # expect: CUF009
    return torch.view_as_real(x_ * freqs_cis).flatten(-2).type_as(x)


def timestep_embedding(t, dim):
    freqs = torch.exp(-math.log(10000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    args = t[:, None].float() * freqs[None]
    return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)  # silent: CUF009 a table


def augment(points, angle):
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = points.unbind(-1)
    return torch.stack((x * cos - y * sin, x * sin + y * cos, z), dim=-1)  # silent: CUF009 points


def mirrored(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, a * sin - b * cos), dim=-1)  # silent: CUF009 a reflection


def spectral_gate(x, gate):
    z = torch.fft.rfft(x, dim=-1)
    return torch.view_as_real(z * gate).flatten(-2)  # silent: CUF009 a filter


class Rotary(nn.Module):
    def __init__(self, dim, base=10000):
        super().__init__()
        self.register_buffer("inv_freq", 1.0 / base ** (torch.arange(0, dim, 2).float() / dim))

    def forward(self, x):
        t = torch.arange(x.shape[1], device=x.device).type_as(self.inv_freq)
        freqs = torch.outer(t, self.inv_freq)
        return freqs.cos()[None, :, None, :], freqs.sin()[None, :, None, :]

    def turn(self, x, cos, sin):
        d = x.shape[3] // 2
        x1 = x[..., :d]  # expect: CUF009
        x2 = x[..., d:]
        y1 = x1 * cos + x2 * sin
        y2 = x1 * (-sin) + x2 * cos
        return torch.cat([y1, y2], 3).type_as(x)


class Attention(nn.Module):
    def __init__(self, width, heads, rotary_dims):
        super().__init__()
        self.heads, self.rotary_dims = heads, rotary_dims
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def partial(self, x, cos, sin):
        front, rest = x[..., : self.rotary_dims], x[..., self.rotary_dims :]  # expect: CUF009
        even, odd = front[..., ::2], front[..., 1::2]
        front = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
        return torch.cat((front, rest), dim=-1)

    def forward(self, x, cos, sin):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # either: CUF023 no loop
        return self.out(y.transpose(1, 2).flatten(2))
