"""Which keys a query sees, as tensors."""

from __future__ import annotations

import torch
from torch import Tensor

Window = tuple[int, int]


def visible(
    queries: int, keys: int, causal: bool, window: Window | None, align: str, device: torch.device
) -> Tensor | None:
    """Bool (queries, keys), True = seen; None where all are.

    Aligned top-left, query i stands at key i; bottom-right, at key i + keys − queries.
    """
    left, right = window or (-1, -1)
    if causal:
        right = 0 if right < 0 else min(right, 0)
    if left < 0 and right < 0:
        return None
    shift = keys - queries if align == "bottom-right" else 0
    i = torch.arange(queries, device=device)[:, None] + shift
    distance = torch.arange(keys, device=device)[None, :] - i
    if left < 0:
        return distance <= right
    return distance >= -left if right < 0 else (distance >= -left) & (distance <= right)


def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """One mask that does what two do: bool True = keep, floating = added."""
    if first is None or second is None:
        return second if first is None else first
    if first.dtype == torch.bool and second.dtype == torch.bool:
        return first & second
    if first.dtype == torch.bool:
        first, second = second, first
    if second.dtype == torch.bool:
        return torch.where(second, first, -float("inf"))
    return first + second


def alibi(slopes: Tensor, queries: int, keys: int) -> Tensor:
    """− slope · |i + keys − queries − j|, float32 (..., H, queries, keys) for slopes (..., H)."""
    i = torch.arange(queries, device=slopes.device)[:, None] + keys - queries
    j = torch.arange(keys, device=slopes.device)[None, :]
    return -slopes.to(torch.float32)[..., None, None] * (i - j).abs()
