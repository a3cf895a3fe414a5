"""Activations, gates and gated layers, as models and an acquisition function write them."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def normal_cdf(x):
    return 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))  # silent: CUF007 no factor x


def gelu_new(x):
    inner = 0.7978845608 * (x + 0.044715 * x * x * x)  # expect: CUF007
    return 0.5 * x * (1.0 + torch.tanh(inner))


def expected_improvement(mean, std, best):
    u = (mean - best) / std
    density = torch.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    return std * (u * normal_cdf(u) + density)  # silent: CUF007 an acquisition, no activation


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)  # expect: CUF007


class ErfGELU(nn.Module):
    def forward(self, x):
        return x * normal_cdf(x)  # expect: CUF007


class LearnedSwish(nn.Module):
    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)  # silent: CUF007 a learned slope


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)  # expect: CUF007


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        scale = self.mix(x.mean((2, 3), keepdim=True))
        return x * torch.sigmoid(scale)  # silent: CUF007 a gate of another tensor


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate = nn.Linear(width, 1)

    def forward(self, x):
        weight = torch.sigmoid(self.gate(x))
        return x * weight, weight  # silent: CUF007 a gate


class GatedLinear(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)
        self.gate_proj = nn.Linear(width, hidden)
        self.up_proj = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)
        self.act = nn.SiLU()
        self.gamma = nn.Parameter(torch.ones(hidden))

    def packed(self, x):
        x, gate = self.proj(x).chunk(2, dim=-1)
        return self.out(x * F.gelu(gate))  # expect: CUF008

    def apart(self, x):
        return self.out(self.act(self.gate_proj(x)) * self.up_proj(x))  # expect: CUF008

    def in_steps(self, x):
        gate = self.gate_proj(x)
        up = self.up_proj(x)
        gate = F.silu(gate)  # expect: CUF008
        return self.out(gate * up)

    def scaled(self, x):
        return self.out(F.silu(self.gate_proj(x)) * self.gamma)  # silent: CUF008 a layer's scale

    def masked(self, x, mask):
        return self.out(F.gelu(self.gate_proj(x)) * mask)  # silent: CUF008 a mask

    def rectified(self, x):
        return self.out(F.relu(self.gate_proj(x)) * self.up_proj(x))  # silent: CUF008 another unit

    def pooled(self, x):
        pool = self.gate_proj(x).mean(1, keepdim=True)
        return self.out(F.silu(pool) * self.up_proj(x))  # silent: CUF008 widened

    def kept(self, x):
        gate = F.silu(self.gate_proj(x))
        return self.out(gate * self.up_proj(x)) + self.out(gate)  # silent: CUF008 used elsewhere
