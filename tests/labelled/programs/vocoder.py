"""Text to speech: a small transformer, an upsampling decoder, and the loop that trains both."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PHONES = 1021  # expect: CUF022


@dataclass
class SpeechConfig:
    vocab_size: int = 32003  # expect: CUF022
    width: int = 768  # silent: CUF022 a multiple of 8
    classes: int = 10  # silent: CUF022 small
    padded: int = 50304  # silent: CUF022 padded


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)  # expect: CUF013
        return F.scaled_dot_product_attention(q, k, v)  # expect: CUF023


class Cross(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.to_q = nn.Linear(config.width, config.width)
        self.to_k = nn.Linear(config.width, config.width)
        self.to_v = nn.Linear(config.width, config.width)

    def forward(self, x, memory, bias):
        q = self.to_q(x)  # silent: CUF013 keys of another tensor
        k, v = self.to_k(memory), self.to_v(memory)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # silent: CUF023 once a file


class Gated(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up = nn.Linear(config.width, 4 * config.width)
        self.gate = nn.Linear(config.width, 4 * config.width)
        self.keep = nn.Linear(config.width, config.width)

    def forward(self, x):
        return self.keep(x) + (self.up(x) * self.gate(x)).mean(-1, keepdim=True)  # silent: CUF013, CUF021


class Snake(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels, 1))
        self.log_beta = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x):
        alpha = torch.exp(self.log_alpha).clamp(max=20) * 2 + 1e-9  # silent: CUF021 of a parameter
        beta = torch.exp(self.log_beta)
        return x + torch.sin(alpha * x).pow(2) / (beta + 1e-9)  # expect: CUF021


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.snake = Snake(config.width)
        self.head = nn.Linear(config.width, config.vocab_size)
        self.phones = nn.Linear(in_features=config.width, out_features=PHONES)
        self.kind = nn.Linear(config.width, config.classes)
        self.wide = nn.Linear(config.width, config.padded)

    def schedule(self, step):
        return 0.5 * (1 + math.cos(math.pi * step / 1000)) * 3 - 1  # silent: CUF021 numbers of Python

    def forward(self, x):
        y = self.snake(x.transpose(1, 2)).transpose(1, 2)
        loud = y * 32768.0  # expect: CUF021
        loud = torch.round(loud)
        loud = loud.clamp(-32768, 32767)
        loud = loud / 32768.0
        soft = torch.tanh(y) * 2  # silent: CUF021 two operations
        norm = (y - y.mean(-1, keepdim=True)) * torch.rsqrt(y.var(-1, keepdim=True) + 1e-5) * 2 + 1  # silent: CUF021 a norm
        return self.head(loud + norm), self.phones(soft), self.kind(y), self.wide(y)


def train(model, attention, batches):
    for step, (x, y) in enumerate(batches):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits, *_ = model(attention(x.to(device)))
            loss = F.cross_entropy(logits.transpose(1, 2), y.to(device))
        loss.backward()
