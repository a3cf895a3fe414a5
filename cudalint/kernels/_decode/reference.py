"""Attention to a cache in plain torch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._attention.function import attention
from cudalint.kernels._attention.masks import Window


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    scale: float | None,
    softcap: float | None,
    window: Window | None,
) -> Tensor:
    """torch's attention, behind a mask where `lengths` are given."""
    grouped = q.shape[1] != k.shape[1]
    if lengths is None:
        return attention(
            q, k, v, is_causal=q.shape[2] > 1, causal_align="bottom-right", scale=scale,
            enable_gqa=grouped, softcap=softcap, window=window,
        )  # fmt: skip
    seen = _visible(lengths, q.shape[2], k.shape[2], window)
    return attention(q, k, v, seen, scale=scale, enable_gqa=grouped, softcap=softcap)


def gathered(pages: Tensor, block_table: Tensor) -> Tensor:
    """The pages of each row, (B, Hk, places, width)."""
    table = block_table.clamp(0, pages.shape[0] - 1)
    return pages[table].transpose(1, 2).flatten(2, 3)


def _visible(lengths: Tensor, queries: int, capacity: int, window: Window | None) -> Tensor:
    """Bool (B, 1, queries, capacity)."""
    j = torch.arange(capacity, device=lengths.device)
    i = torch.arange(queries, device=lengths.device)[:, None] - queries
    distance = j - i - lengths[:, None, None, None]
    seen = distance <= 0  # which leaves nothing for the right side of a window to hide
    left = -1 if window is None else window[0]
    return seen & (distance >= -left) if left >= 0 else seen
