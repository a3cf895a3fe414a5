"""Where new keys and values go, and how they get there: one launch for both, or torch's indexing."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._dispatch import kernel_runs, must_dispatch


class Room(NamedTuple):
    """Caches (B, Hk, capacity, ·), or pools of pages (·, Hk, page size, ·) with the rows' `table`."""

    k: Tensor
    v: Tensor
    lengths: Tensor
    table: Tensor | None


@functools.cache
def _launches() -> Any:
    """The launch, which imports Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._decode import append_launch

    return append_launch


def put(room: Room, k: Tensor, v: Tensor) -> None:
    """Writes `k` and `v` (B, Hk, T, ·) behind what each row holds."""
    tensors = (k, v, room.k, room.v, room.lengths)
    if torch.compiler.is_compiling() or not kernel_runs(k) or must_dispatch(*tensors):
        _index(room, k, v)
    else:
        _launches().append(room, k, v)


def _index(room: Room, k: Tensor, v: Tensor) -> None:
    batch, tokens = k.shape[0], k.shape[2]
    place = room.lengths.long()[:, None] + torch.arange(tokens, device=k.device)
    if room.table is None:
        index = (torch.arange(batch, device=k.device)[:, None], place)
    else:
        size = room.k.shape[2]
        index = (room.table.gather(1, place // size).long(), place % size)
    for cache, new in ((room.k, k), (room.v, v)):
        cache.transpose(1, 2).index_put_(index, new.transpose(1, 2))
