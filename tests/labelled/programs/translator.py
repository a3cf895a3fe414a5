"""Translation with an encoder and a decoder: half precision, attention by torch, an odd vocabulary."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SOURCE_TOKENS = 32100  # silent: CUF022 nothing is made of it


class SelfAttention(nn.Module):
    def __init__(self, width=768, heads=12):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, -1).transpose(1, 2)  # expect: CUF013
        k = self.k_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.heads, -1).transpose(1, 2)
        with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]):
            y = F.scaled_dot_product_attention(q, k, v)  # silent: CUF023 the backends are chosen
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class CrossAttention(nn.Module):
    def __init__(self, width=768):
        super().__init__()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)

    def forward(self, x, memory):
        q = self.q(x)  # silent: CUF013 keys and values of the encoder's output
        k, v = self.k(memory), self.v(memory)
        return F.scaled_dot_product_attention(q, k, v)  # silent: CUF023 this file has chosen


class Packed(nn.Module):
    def __init__(self, width=768):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # silent: CUF013 one layer for all three
        return F.scaled_dot_product_attention(q, k, v)  # silent: CUF023 this file has chosen


class Mixture(nn.Module):
    def __init__(self, width=768, vocabulary=32111):  # expect: CUF022
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x, gate, bias):
        x = x.cuda()
        y = x * gate  # expect: CUF021
        y = y + bias
        y = torch.sigmoid(y)
        y = y * 2
        y = y - 1
        return self.head(self.inner(y))


class Warp(nn.Module):
    def forward(self, x):
        return torch.exp(x).mul(0.5).add(1.0).log().clamp(0, 1)  # expect: CUF021


model = nn.ModuleDict(
    {
        "self": SelfAttention(),
        "cross": CrossAttention(),
        "packed": Packed(),
        "mixture": Mixture(),
        "warp": Warp(),
        "tags": nn.Linear(in_features=768, out_features=4097),  # expect: CUF022
    }
)
model.cuda().to(torch.bfloat16)
