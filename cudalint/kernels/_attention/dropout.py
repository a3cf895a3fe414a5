"""Which weights dropout keeps, as numbers of (seed, head, query, key) alone."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def seed(query: Tensor) -> Tensor:
    """A number of the device's generator: the same again after its state, another at each replay."""
    return torch.randint(2**62, (1,), device=query.device)


def threshold(dropout_p: float) -> int:
    """What the words that keep a weight reach, read with a sign."""
    return min(round(dropout_p * 2**32), _WORD) - 2**31


def kept(seed: Tensor, dropout_p: float, shape: tuple[int, int, int, int]) -> Tensor:
    """Bool (batch, heads, queries, keys), True = kept; as `kept` of the kernels."""
    batch, heads, queries, keys = shape
    head = torch.arange(batch * heads, device=seed.device).view(batch, heads, 1, 1)
    key = _mixed(_mixed(head ^ (seed & _WORD)) ^ (seed >> 32 & _WORD))
    i = torch.arange(queries, device=seed.device)[:, None]
    j = torch.arange(keys, device=seed.device)
    rows = _mixed(i * 0x9E3779B1 + key & _WORD)
    cols = _mixed(j * 0x85EBCA77 + _mixed(key ^ 0x2545F491) & _WORD)
    signed = (_mixed(rows + cols & _WORD) ^ 2**31) - 2**31
    return signed >= threshold(dropout_p)


def _mixed(x: Tensor) -> Tensor:
    x = x ^ x >> 16
    x = x * 0x21F0AAAD & _WORD
    x = x ^ x >> 15
    x = x * 0x735A2D97 & _WORD
    return x ^ x >> 15
