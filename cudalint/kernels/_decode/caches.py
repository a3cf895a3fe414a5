"""Keys and values of the tokens so far, in memory that is taken once."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._checks import can_be_read
from cudalint.kernels._decode.append import Pool, Room, new_pages, put, take_pages
from cudalint.kernels._decode.checks import refuse_bad_sizes, refuse_bad_tokens


class KVCache:
    """Keys and values of up to `capacity` tokens a row, for `decode_attention`.

    ``k`` (batch, heads, capacity, width), ``v`` (batch, heads, capacity, value_width or width) and
    ``lengths`` (batch,), int32, the tokens that each row holds, start as zeros and stay where they
    are: nothing is allocated or copied as the rows grow, and no call reads the device, so a CUDA
    graph can hold `append` and `decode_attention` together. ``lengths`` may be written to: a
    smaller number takes tokens back.

    Dtypes: float32, float16, bfloat16, float64; torch's default for ``dtype=None``.
    Gradients: none; what is appended is cut from its history.
    Raises ValueError for sizes below 1.
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        capacity: int,
        width: int,
        *,
        value_width: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        value_width = width if value_width is None else value_width
        refuse_bad_sizes(
            "KVCache", batch=batch, heads=heads, capacity=capacity, width=width,
            value_width=value_width,
        )  # fmt: skip
        self.capacity = capacity
        self.k = torch.zeros(batch, heads, capacity, width, dtype=dtype, device=device)
        self.v = torch.zeros(batch, heads, capacity, value_width, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int32, device=device)

    @torch.no_grad()
    def append(self, k: Tensor, v: Tensor) -> None:
        """Puts T tokens behind those that each row holds: `k` and `v` (batch, heads, T, width).

        Raises ValueError for other shapes, dtypes or devices, and on the CPU for more tokens than
        have room; on a GPU, where no call waits for the lengths, an assertion on the device does.
        """
        tokens = _refuse_bad_pair("KVCache.append", k, v, self.k, self.v, self.lengths)
        _refuse_overflow("KVCache.append", self.lengths, tokens, self.capacity)
        put(Room(self.k, self.v, self.lengths, None), k, v)
        self.lengths.add_(tokens)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """What `append` changes beside keys and values: what `graphed` is to restore."""
        return (self.lengths,)

    def reset(self) -> None:
        """Empties every row."""
        self.lengths.zero_()


class PagedKVCache:
    """Keys and values in a pool of pages that the rows share, for `paged_decode_attention`.

    ``k_pages`` (pages, heads, page_size, width), ``v_pages`` (pages, heads, page_size, value_width
    or width), ``block_table`` (batch, most_pages), int32, and ``lengths`` (batch,), int32, stay
    where they are. A row takes a page from the pool when it grows past its last one, and `release`
    gives a row's pages back; both happen on the device, so a CUDA graph can hold them.
    ``lengths`` may be written to: a smaller number takes tokens back and keeps the pages.

    `most_pages`, that a row may have, is `pages` by default: any row may take them all.
    Dtypes: float32, float16, bfloat16, float64; torch's default for ``dtype=None``.
    Gradients: none; what is appended is cut from its history.
    Raises ValueError for sizes below 1.
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        pages: int,
        page_size: int,
        width: int,
        *,
        value_width: int | None = None,
        most_pages: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        value_width = width if value_width is None else value_width
        most_pages = pages if most_pages is None else most_pages
        refuse_bad_sizes(
            "PagedKVCache", batch=batch, heads=heads, pages=pages, page_size=page_size,
            width=width, value_width=value_width, most_pages=most_pages,
        )  # fmt: skip
        self.page_size = page_size
        self.k_pages = torch.zeros(pages, heads, page_size, width, dtype=dtype, device=device)
        self.v_pages = torch.zeros(pages, heads, page_size, value_width, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.int32, device=device)
        # The last column, and the last free page, are where writes go that mean nothing.
        self._table = torch.zeros(batch, most_pages + 1, dtype=torch.int32, device=device)
        self._free = torch.arange(pages + 1, dtype=torch.int32, device=device)
        self._taken = torch.zeros((), dtype=torch.int64, device=device)
        self._owned = torch.zeros(batch, dtype=torch.int64, device=device)
        self.block_table = self._table[:, :-1]

    @torch.no_grad()
    def append(self, k: Tensor, v: Tensor) -> None:
        """Puts T tokens behind those that each row holds: `k` and `v` (batch, heads, T, width).

        Raises ValueError for other shapes, dtypes or devices, and on the CPU where a row or the
        pool has too few pages; on a GPU, where no call waits for the lengths, an assertion on the
        device does.
        """
        name = "PagedKVCache.append"
        tokens = _refuse_bad_pair(name, k, v, self.k_pages, self.v_pages, self.lengths)
        room = self.block_table.shape[1] * self.page_size
        _refuse_overflow(name, self.lengths, tokens, room)
        self._take_pages(tokens)
        put(Room(self.k_pages, self.v_pages, self.lengths, self.block_table), k, v)
        self.lengths.add_(tokens)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """What `append` changes beside keys and values: what `graphed` is to restore."""
        return self.lengths, self._table, self._free, self._taken, self._owned

    def _take_pages(self, tokens: int) -> None:
        """Gives each row the pages that it needs for so many tokens more."""
        pool = Pool(self.lengths, self._owned, self._taken, self._free, self._table)
        self._refuse_empty_pool(pool, tokens)
        take_pages(pool, tokens, self.page_size)

    def _refuse_empty_pool(self, pool: Pool, tokens: int) -> None:
        if not can_be_read(pool.taken):
            return
        new = new_pages(pool, tokens, self.page_size)
        if int(pool.taken + new.sum()) > self.k_pages.shape[0]:
            raise ValueError(
                f"PagedKVCache.append: the pool has {self.k_pages.shape[0]} pages, of which "
                f"{int(pool.taken)} are taken; accepted: tokens that need no more than are left"
            )

    @torch.no_grad()
    def release(self, rows: Tensor) -> None:
        """Empties the rows where `rows`, a bool tensor (batch,), is True: their pages are free."""
        batch = self.lengths.shape[0]
        if rows.dtype != torch.bool or tuple(rows.shape) != (batch,):
            raise ValueError(
                f"PagedKVCache.release: rows has shape {tuple(rows.shape)} and dtype {rows.dtype}; "
                f"accepted: ({batch},) and torch.bool"
            )
        column = torch.arange(self.block_table.shape[1], device=rows.device)
        given = rows[:, None] & (column < self._owned[:, None])
        rank = given.flatten().cumsum(0).view_as(given)
        target = torch.where(given, self._taken - rank, self._free.shape[0] - 1)
        self._free.scatter_(0, target.flatten(), self.block_table.flatten())
        self._taken.sub_(given.sum())
        self._owned.masked_fill_(rows, 0)
        self.lengths.masked_fill_(rows, 0)

    def reset(self) -> None:
        """Empties every row."""
        self.release(torch.ones_like(self.lengths, dtype=torch.bool))


def _refuse_bad_pair(
    function: str, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, lengths: Tensor
) -> int:
    """The number of new tokens."""
    batch = lengths.shape[0]
    refuse_bad_tokens(function, k, "k", k_cache, batch)
    refuse_bad_tokens(function, v, "v", v_cache, batch)
    if k.shape[2] != v.shape[2]:
        raise ValueError(
            f"{function}: v has {v.shape[2]} tokens; accepted: as many as k, {k.shape[2]}"
        )
    return int(k.shape[2])


def _refuse_overflow(function: str, lengths: Tensor, tokens: int, capacity: int) -> None:
    held = int(lengths.max()) if can_be_read(lengths) else 0
    if held + tokens > capacity:
        raise ValueError(
            f"{function}: {tokens} tokens behind {held}; accepted: at most {capacity} in all"
        )
