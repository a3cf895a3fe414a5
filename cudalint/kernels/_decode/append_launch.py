"""The launches that append to a cache on a GPU."""

from __future__ import annotations

from torch import Tensor

from cudalint.kernels._blocks import next_power_of_two, remembered
from cudalint.kernels._decode import append_kernel
from cudalint.kernels._decode.append import Pool, Room
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._rows import dense_last

_append = Launcher(append_kernel.append)
_take_pages = Launcher(append_kernel.take_pages)

_known: dict[tuple[object, ...], Prepared] = {}
_takers: dict[tuple[object, ...], Prepared] = {}

TILE = 4096


def append(room: Room, k: Tensor, v: Tensor) -> None:
    """Writes `k` and `v` behind what each row holds."""
    if not k.shape[0] or not k.shape[2]:
        return
    k, v = dense_last(k), dense_last(v)
    table = room.lengths if room.table is None else room.table
    key = (
        k.shape, k.stride(), v.shape, v.stride(), k.dtype, room.k.shape, room.k.stride(),
        room.v.stride(), room.table is None, table.shape, table.stride(),
    )  # fmt: skip
    prepared = _known.get(key)
    if prepared is None:
        prepared = remembered(_known)[key] = _prepare(room, k, v, table)
    prepared(k, v, room.k, room.v, table, room.lengths)


def _prepare(room: Room, k: Tensor, v: Tensor, table: Tensor) -> Prepared:
    batch, heads, tokens, width = k.shape
    page = 0 if room.table is None else room.k.shape[2]
    capacity = page * table.shape[1] if page else room.k.shape[2]
    widths = next_power_of_two(width), next_power_of_two(v.shape[3])
    return _append.prepare(
        batch * tokens,
        (k, v, room.k, room.v, table, room.lengths),
        (
            tokens, capacity, table.stride(0), *k.stride()[:3], *v.stride()[:3],
            *room.k.stride()[:3], *room.v.stride()[:3],
        ),
        (
            page, heads, width, v.shape[3],
            min(next_power_of_two(heads), max(TILE // max(widths), 1)), *widths,
        ),
        4,
    )  # fmt: skip


def take_pages(pool: Pool, tokens: int, size: int) -> None:
    """Gives each row the pages, of `size` places, that it needs for so many tokens more."""
    key = (pool.table.shape, pool.table.stride(), pool.free.shape, tokens, size)
    prepared = _takers.get(key)
    if prepared is None:
        rows, columns = pool.table.shape
        prepared = remembered(_takers)[key] = _take_pages.prepare(
            1,
            (pool.lengths, pool.owned, pool.taken, pool.free, pool.table),
            (
                rows, tokens, -(-tokens // size), pool.free.shape[0] - 1, columns - 1,
                pool.table.stride(0),
            ),
            (size, next_power_of_two(rows)),
            1,
        )  # fmt: skip
    prepared(pool.lengths, pool.owned, pool.taken, pool.free, pool.table)
