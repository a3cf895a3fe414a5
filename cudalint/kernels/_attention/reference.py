"""Attention in plain torch: the specification, and what runs where no kernel does."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._attention import masks


class Options(NamedTuple):
    """All that `attention` takes beside query, key and value, under the same names."""

    attn_mask: Tensor | None
    dropout_p: float
    is_causal: bool
    scale: float | None
    enable_gqa: bool
    bias: Tensor | None
    softcap: float | None
    window: masks.Window | None
    alibi_slopes: Tensor | None
    sinks: Tensor | None
    causal_align: str


def attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    with torch.autocast(query.device.type, enabled=False):
        wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        q, k, v = query.to(wide), key.to(wide), value.to(wide)
        if options.enable_gqa:
            k, v = repeat_heads(k, q), repeat_heads(v, q)
        p, _, _ = weights(scores(q, k, options), options.sinks)
        if options.dropout_p:
            p = torch.dropout(p, options.dropout_p, train=True)
        return (p @ v).to(query.dtype)


def repeat_heads(kv: Tensor, query: Tensor) -> Tensor:
    """Query head h reads head h // (Hq / Hk)."""
    return kv.repeat_interleave(query.shape[-3] // kv.shape[-3], dim=-3)


def scale_of(q: Tensor, options: Options) -> float:
    return float(q.shape[-1] ** -0.5) if options.scale is None else options.scale


def scores(q: Tensor, k: Tensor, options: Options) -> Tensor:
    """Of q with as many key heads as query heads, −inf where a key is hidden."""
    scores = q @ k.mT * scale_of(q, options)
    if options.softcap is not None:
        scores = options.softcap * torch.tanh(scores / options.softcap)
    if options.bias is not None:
        scores = scores + options.bias.to(scores.dtype)
    queries, keys = scores.shape[-2:]
    if options.alibi_slopes is not None:
        scores = scores + masks.alibi(options.alibi_slopes, queries, keys)
    seen = masks.visible(
        queries, keys, options.is_causal, options.window, options.causal_align, q.device
    )
    for mask in (options.attn_mask, seen):
        if mask is None:
            continue
        scores = (
            scores.masked_fill(~mask, -float("inf"))
            if mask.dtype == torch.bool
            else scores + mask.to(scores.dtype)
        )
    return scores


def weights(scores: Tensor, sinks: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax with the sinks in the denominator; 0, with zero gradients, where nothing is seen.

    Beside it the highest score of each row, and the sum of exponentials under that.
    """
    if scores.shape[-1] == 0:
        return scores, scores, scores
    highest = scores.detach().amax(-1, keepdim=True)
    if sinks is not None:
        sinks = sinks.to(scores.dtype)[..., None, None]
        highest = torch.maximum(highest, sinks.detach())
    highest = highest.masked_fill(highest == -float("inf"), 0.0)
    e = torch.exp(scores - highest)
    total = e.sum(-1, keepdim=True)
    if sinks is not None:
        total = total + torch.exp(sinks - highest)
    return e / total.masked_fill(total == 0.0, 1.0), highest, total
