"""What a GPU runs for attention to a cache: shares of the places, then their sum in a fixed order."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._blocks import (
    multiprocessors,
    next_power_of_two,
    remembered,
    shared_memory,
)
from cudalint.kernels._decode import triton_kernels as kernels
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._rows import dense_last

_attend = Launcher(kernels.attend)
_combine = Launcher(kernels.combine)

_known: dict[tuple[object, ...], Plan] = {}

# Programs wanted for each multiprocessor, and the fewest places of a share; where they are as few as
# SCARCE, shares may be SHORT.
PROGRAMS, FEWEST = 8, 1024
SCARCE, SHORT = 2, 256
MOST_SPLITS = 128
# Numbers that the second pass holds at once.
COMBINED, COMBINE_WARPS = 8192, 4


class Form(NamedTuple):
    """`left`: how many places a query sees before its own, −1 for all."""

    scale: float | None
    softcap: float | None
    left: int


class Tile(NamedTuple):
    queries: int
    places: int
    warps: int
    stages: int


class Plan(NamedTuple):
    """`second` is None where one program holds all places of a row."""

    first: Prepared
    second: Prepared | None
    numbers: int


def tile(
    queries: int, width: int, value_width: int, element_bytes: int, paged: bool, aligned: bool,
    room: int, short: bool = False,
) -> Tile:  # fmt: skip
    """Blocks of about 32 KB of keys and values, three of them on their way where there is room.

    Pages' numbers are fetched a block ahead of their keys, which leaves one block on its way: there,
    more programs hide the wait, as they do where each has a whole row that is `short`: of half precision
    and a width of 128, two warps are enough for one then. Rows that no vector fits are loaded number by
    number, whose addresses take registers.
    """
    row = (padded(width) + padded(value_width)) * element_bytes
    rows = next_power_of_two(queries)
    if element_bytes == 4:
        return _tile_of_single(rows, max(padded(width), padded(value_width)), aligned)
    places = min(max(power_of_two_below((32768 if aligned else 16384) // row), 16), 128)
    rows = max(rows, 16)  # what a tensor core multiplies at least
    if short and rows == 16 and row == 512 and aligned:
        return Tile(rows, places, 2, 2)
    stages = 2 if paged else 4 if 3 * places * row <= room - 16384 else 3
    return Tile(rows, places, 4 if rows <= 32 and aligned else 8, stages)


def _tile_of_single(rows: int, width: int, aligned: bool) -> Tile:
    """float32: all products of a block are in registers before they are added."""
    places = min(max(power_of_two_below(8192 // (rows * width)), 1), 32)
    return Tile(rows, places, 4 if aligned else 8, 2)


def power_of_two_below(n: int) -> int:
    return 1 << max(n.bit_length() - 1, 0)


def padded(width: int) -> int:
    return max(next_power_of_two(width), 16)


def splits_of(pairs: int, capacity: int, processors: int) -> int:
    """Into how many shares the places go; how many each is follows from a row's length."""
    many = min(-(-PROGRAMS * processors // pairs), capacity // FEWEST)
    some = min(-(-SCARCE * processors // pairs), capacity // SHORT)
    return max(min(max(many, some), MOST_SPLITS), 1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, block_table: Tensor | None, lengths: Tensor, form: Form
) -> Tensor:
    """The result (B, H, T, E); `k` and `v` are caches, or pages where there is a `block_table`."""
    q = dense_last(q)
    out = torch.empty((*q.shape[:3], v.shape[3]), dtype=q.dtype, device=q.device)
    table = lengths if block_table is None else block_table
    key = (
        q.shape, q.stride(), q.dtype, k.shape, k.stride(), v.shape, v.stride(), block_table is None,
        table.shape, table.stride(), table.dtype, lengths.stride(), lengths.dtype, form,
        q.get_device(), k.data_ptr() % 16 == v.data_ptr() % 16 == 0,
    )  # fmt: skip
    plan = _known.get(key)
    if plan is None:
        plan = remembered(_known)[key] = _prepare(q, k, v, block_table, lengths, form, out)
    if plan.second is None:
        plan.first(q, k, v, table, lengths, out, out)
        return out
    parts = torch.empty((plan.numbers,), dtype=torch.float32, device=q.device)
    plan.first(q, k, v, table, lengths, parts, out)
    plan.second(parts, lengths, out)
    return out


def _prepare(
    q: Tensor, k: Tensor, v: Tensor, block_table: Tensor | None, lengths: Tensor, form: Form,
    out: Tensor,
) -> Plan:  # fmt: skip
    batch, heads, tokens, width = q.shape
    kv_heads, page, value_width = v.shape[1:]
    capacity = page if block_table is None else page * block_table.shape[1]
    pairs, queries = batch * kv_heads, heads // kv_heads * tokens
    size = q.element_size()
    steps = (*k.stride()[:3], *v.stride()[:3])
    aligned = all([n % 16 == 0 for n in (k.data_ptr(), v.data_ptr(), *[n * size for n in steps])])
    splits = splits_of(pairs, capacity, multiprocessors(q.get_device()))
    blocks = tile(
        queries, width, value_width, size, block_table is not None, aligned,
        shared_memory(q.get_device()), splits == 1 and capacity < 2 * FEWEST,
    )  # fmt: skip
    sums_at = pairs * splits * queries * value_width
    precise = q.dtype == torch.float32
    scale, cap = _factors(form, width, precise)
    parts = torch.empty((0,), dtype=torch.float32, device=q.device)
    table = lengths if block_table is None else block_table
    table_steps = (0, 0) if block_table is None else block_table.stride()
    shared = (form.left >= 0, precise)
    first = _attend.prepare(
        pairs * splits,
        (q, k, v, table, lengths, parts if splits > 1 else out, out),
        (
            capacity, k.shape[0], kv_heads, splits, sums_at, scale, cap, form.left,
            lengths.stride(0), *table_steps, *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        ),
        (
            heads // kv_heads, tokens, width, value_width, 0 if block_table is None else page,
            page % blocks.places == 0, form.softcap is not None, form.left >= 0, splits == 1,
            precise, q.get_device() < 0 and q.dtype == torch.bfloat16, blocks.stages,
            blocks.queries, blocks.places, padded(width), padded(value_width),
        ),
        blocks.warps,
    )  # fmt: skip
    if splits == 1:
        return Plan(first, None, 0)
    second = _combine.prepare(
        pairs * queries,
        (parts, lengths, out),
        (capacity, kv_heads, splits, sums_at, form.left, lengths.stride(0)),
        (
            queries, tokens, value_width, *shared, blocks.places,
            min(next_power_of_two(splits), COMBINED // padded(value_width)), padded(value_width),
        ),
        COMBINE_WARPS,
    )  # fmt: skip
    return Plan(first, second, sums_at + 2 * pairs * splits * queries)


def _factors(form: Form, width: int, precise: bool) -> tuple[float, float]:
    """What products and capped scores are multiplied by, log₂e included where 2^x is taken."""
    scale = 1.0 / math.sqrt(width) if form.scale is None else float(form.scale)
    base = 1.0 if precise else math.log2(math.e)
    if form.softcap is None:
        return scale * base, 1.0
    return scale / form.softcap, form.softcap * base
