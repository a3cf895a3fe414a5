"""Packed sequences as a padded batch behind a mask: the specification, and what runs anywhere.

No step reads a tensor's value on the host, so that it can be captured in a CUDA graph.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._attention.function import attention
from cudalint.kernels._attention.masks import Window


class Sequences(NamedTuple):
    """Where the sequences start and end in q and in k, and the most that one of them has."""

    offsets_q: Tensor
    offsets_k: Tensor
    most_q: int
    most_k: int


class Options(NamedTuple):
    """The options of `attention_varlen`, the causal one merged into the window."""

    window: Window
    scale: float | None
    enable_gqa: bool
    softcap: float | None


def attention_varlen(
    q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, options: Options
) -> Tensor:
    if not (q.shape[0] and sequences.most_q and sequences.offsets_q.shape[0] > 1):
        return q.new_zeros(*q.shape[:2], v.shape[2])
    padded_q = _padded(q, sequences.offsets_q, sequences.most_q)
    padded_k = _padded(k, sequences.offsets_k, sequences.most_k)
    padded_v = _padded(v, sequences.offsets_k, sequences.most_k)
    out = attention(
        padded_q,
        padded_k,
        padded_v,
        _visible(sequences, options.window),
        scale=options.scale,
        enable_gqa=options.enable_gqa,
        softcap=options.softcap,
    )
    return _packed(out, sequences, q.shape[0])


def _padded(x: Tensor, offsets: Tensor, most: int) -> Tensor:
    """(sequences, heads, most, width), zeros past a sequence's end.

    Zeros, not whatever lies there: a weight of 0 times the infinity of a neighbour would be NaN.
    """
    if not x.shape[0] or not most:
        return x.new_zeros(offsets.shape[0] - 1, x.shape[1], most, x.shape[2])
    place = torch.arange(most, device=x.device)
    index = (offsets[:-1, None] + place).clamp(max=x.shape[0] - 1)
    there = place < offsets.diff()[:, None]
    rows = torch.where(there[..., None, None], x[index], 0.0)
    return rows.transpose(1, 2)


def _visible(sequences: Sequences, window: Window) -> Tensor:
    """Bool (sequences, 1, most_q, most_k): the last query of a sequence stands at its last key."""
    device = sequences.offsets_q.device
    queries, keys = sequences.offsets_q.diff(), sequences.offsets_k.diff()
    j = torch.arange(sequences.most_k, device=device)
    i = torch.arange(sequences.most_q, device=device)[:, None]
    distance = j - i - (keys - queries)[:, None, None]
    seen = (j < keys[:, None, None]).expand_as(distance)
    left, right = window
    if left >= 0:
        seen = seen & (distance >= -left)
    if right >= 0:
        seen = seen & (distance <= right)
    return seen[:, None]


def _packed(out: Tensor, sequences: Sequences, total: int) -> Tensor:
    """(total, heads, width) of (sequences, heads, most, width)."""
    offsets = sequences.offsets_q
    token = torch.arange(total, device=out.device, dtype=offsets.dtype)
    sequence = torch.searchsorted(offsets[1:].contiguous(), token, right=True)
    return out.transpose(1, 2)[sequence, token - offsets[sequence]]
