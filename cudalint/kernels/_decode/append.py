"""Where new keys and values go, and how they get there: one launch for both, or torch's indexing."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._dispatch import TRITON_IS_HERE, kernel_runs, must_dispatch


class Room(NamedTuple):
    """Caches (B, Hk, capacity, ·), or pools of pages (·, Hk, page size, ·) with the rows' `table`."""

    k: Tensor
    v: Tensor
    lengths: Tensor
    table: Tensor | None


class Pool(NamedTuple):
    """Which pages are free and whose the others are: of `free` the first `taken` are given away.

    `table` (B, most pages of a row, and one), `owned` (B,) pages of each row. The table's last column
    and the last of `free` are where torch's indexing writes what means nothing.
    """

    lengths: Tensor
    owned: Tensor
    taken: Tensor
    free: Tensor
    table: Tensor


# Rows that one program holds.
MOST_ROWS = 256


@functools.cache
def _launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._decode import append_launch

    return append_launch


def put(room: Room, k: Tensor, v: Tensor) -> None:
    """Writes `k` and `v` (B, Hk, T, ·) behind what each row holds."""
    tensors = (k, v, room.k, room.v, room.lengths)
    if torch.compiler.is_compiling() or not kernel_runs(k) or must_dispatch(*tensors):
        _index(room, k, v)
    else:
        _launches().append(room, k, v)


def take_pages(pool: Pool, tokens: int, size: int) -> None:
    """Gives each row the pages, of `size` places, that it needs for so many tokens more."""
    is_here = pool.table.is_cuda and TRITON_IS_HERE and pool.table.shape[0] <= MOST_ROWS
    if torch.compiler.is_compiling() or not is_here or must_dispatch(*pool):
        _scatter_pages(pool, tokens, size)
    else:
        _launches().take_pages(pool, tokens, size)


def _scatter_pages(pool: Pool, tokens: int, size: int) -> None:
    new = new_pages(pool, tokens, size)
    nth = torch.arange(-(-tokens // size), device=new.device)
    real = nth < new[:, None]
    first = pool.taken + new.cumsum(0) - new
    source = torch.where(real, first[:, None] + nth, pool.free.shape[0] - 1)
    column = torch.where(real, pool.owned[:, None] + nth, pool.table.shape[1] - 1)
    pool.table.scatter_(1, column, pool.free[source])
    pool.taken.add_(new.sum())
    pool.owned.add_(new)


def new_pages(pool: Pool, tokens: int, size: int) -> Tensor:
    """How many pages each row needs for so many tokens more."""
    needed = (pool.lengths.long() + (tokens + size - 1)) // size
    return (needed - pool.owned).clamp(min=0)


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
