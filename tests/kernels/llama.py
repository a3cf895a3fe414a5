"""A small Llama of our functions, with and without a cache, for tests of decoding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cudalint.kernels import (
    KVCache,
    PagedKVCache,
    apply_rope,
    attention,
    decode_attention,
    paged_decode_attention,
    rms_norm,
    swiglu,
)


class Size(NamedTuple):
    vocabulary: int = 97
    width: int = 32
    heads: int = 4
    kv_heads: int = 2
    layers: int = 2

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        kv_width = size.kv_heads * size.head_width
        self.size = size
        self.norms = nn.ParameterList(torch.ones(size.width) for _ in range(2))
        self.qkv = nn.Linear(size.width, size.width + 2 * kv_width, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)
        self.gate_up = nn.Linear(size.width, 8 * size.width, bias=False)
        self.down = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(
        self, x: Tensor, tables: tuple[Tensor, Tensor], cache: KVCache | PagedKVCache | None
    ) -> Tensor:
        size = self.size
        heads = self.qkv(rms_norm(x, self.norms[0])).unflatten(-1, (-1, size.head_width))
        q, k, v = heads.transpose(1, 2).split([size.heads, size.kv_heads, size.kv_heads], 1)
        q, k = apply_rope(q, k, *tables, dtype=q.dtype)
        if cache is None:
            y = attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            cache.append(k, v)
            y = attend(q, cache)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(rms_norm(x, self.norms[1])).chunk(2, -1)
        return x + self.down(swiglu(gate, up))


def attend(q: Tensor, cache: KVCache | PagedKVCache) -> Tensor:
    if isinstance(cache, KVCache):
        return decode_attention(q, cache.k, cache.v, cache.lengths)
    return paged_decode_attention(q, cache.k_pages, cache.v_pages, cache.block_table, cache.lengths)


class Llama(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)

    def forward(
        self, tokens: Tensor, caches: list[KVCache] | list[PagedKVCache] | None = None
    ) -> Tensor:
        """Logits (batch, vocabulary) of the token after the last."""
        start = 0 if caches is None else caches[0].lengths[:, None]
        place = start + torch.arange(tokens.shape[1], device=tokens.device)
        half = self.size.head_width // 2
        speed = 100.0 ** (-torch.arange(half, device=tokens.device) / half)
        angles = (place[..., None] * speed).repeat_interleave(2, -1).unflatten(-1, (half, 2))
        angles = angles.transpose(-1, -2).flatten(-2)
        angles = angles if angles.dim() == 2 else angles[:, None]
        x = self.tokens(tokens)
        tables = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, tables, None if caches is None else caches[i])
        logits: Tensor = self.head(x[:, -1])
        return logits


@torch.no_grad()
def greedy_without_cache(model: nn.Module, prompt: Tensor, steps: int) -> Tensor:
    tokens = prompt
    for _ in range(steps):
        tokens = torch.cat([tokens, model(tokens).argmax(-1, keepdim=True)], 1)
    return tokens


@torch.no_grad()
def greedy(
    model: nn.Module, prompt: Tensor, steps: int, caches: list[KVCache] | list[PagedKVCache]
) -> Tensor:
    """The prompt once, then a token at a time."""
    tokens, new = prompt, prompt
    for _ in range(steps):
        new = model(new, caches).argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, new], 1)
    return tokens
