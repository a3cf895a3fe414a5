"""What a GPU runs for rotary embeddings: one kernel, for q and k together and for their gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._blocks import next_power_of_two, remembered
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._rope import triton_kernels as kernels
from cudalint.kernels._rope.reference import Form, rotary_width
from cudalint.kernels._rows import Rows, rows_of, shape_as_rows

_turn = Launcher(kernels.turn)

_known: dict[tuple[object, ...], Prepared] = {}

TILE = 2048

# Rows that are counted in 32 bits, a tile past the last included.
MOST_NARROW = 2**31 - 2**16


def warps(aligned: bool) -> int:
    """Rows that no vector fits are loaded number by number, whose addresses take registers."""
    return 4 if aligned else 8


class Tables(NamedTuple):
    """cos and sin, how their numbers belong to pairs, and whether to turn back."""

    cos: Tensor
    sin: Tensor
    form: Form
    backward: bool


def turn(
    q: Tensor, k: Tensor | None, tables: Tables, q_dtype: torch.dtype, k_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """`q` and `k` turned, the second empty where there is no `k`."""
    q_out = torch.empty_like(q, dtype=q_dtype)
    k_out = q.new_empty(0) if k is None else torch.empty_like(k, dtype=k_dtype)
    if q.numel() == 0:
        if k is None or k.numel() == 0:
            return q_out, k_out
        return q_out, turn(k, None, tables, k_dtype, k_dtype)[0]
    if k is None or k.numel() == 0:
        _launch(q, None, q_out, q_out, tables)
    else:
        _launch(q, k, q_out, k_out, tables)
    return q_out, k_out


def _launch(q: Tensor, k: Tensor | None, q_out: Tensor, k_out: Tensor, tables: Tables) -> None:
    other, (cos, sin, form, backward) = q if k is None else k, tables
    tensors = (q, other, cos, sin, q_out, k_out)
    key = (
        k is None, form, backward, q.shape, q.stride(), q.dtype, q_out.dtype, other.shape,
        other.stride(), other.dtype, k_out.dtype, cos.shape, cos.stride(), sin.stride(), cos.dtype,
    )  # fmt: skip
    prepared = _known.get(key)
    if prepared is None:
        prepared = _prepare(q, k, q_out, k_out, tables)
        if prepared is None:
            q_out.copy_(_of_copies(q, tables, q_out.dtype))
            if k is not None:
                k_out.copy_(_of_copies(k, tables, k_out.dtype))
            return
        remembered(_known)[key] = prepared
    prepared(*tensors)


def _of_copies(x: Tensor, tables: Tables, dtype: torch.dtype) -> Tensor:
    cos, sin = (t.expand(*x.shape[:-1], t.shape[-1]).contiguous() for t in (tables.cos, tables.sin))
    return turn(x.contiguous(), None, tables._replace(cos=cos, sin=sin), dtype, dtype)[0]


def _prepare(
    q: Tensor, k: Tensor | None, q_out: Tensor, k_out: Tensor, tables: Tables
) -> Prepared | None:
    """None where an operand must be copied first."""
    other, (cos, sin, form, backward) = q if k is None else k, tables
    q_rows, k_rows = _rows(q, q_out, cos, sin), _rows(other, k_out, cos, sin)
    if q_rows is None or k_rows is None:
        return None
    half = rotary_width(cos, form) // 2
    aligned = all([stride % 8 == 0 for stride in (*q_rows.strides, *k_rows.strides)])
    rests = [x.shape[-1] - 2 * half for x in (q, other)]
    block_half = next_power_of_two(half)
    counts = [shape_as_rows(x)[0] for x in (q, other)]
    tiles = (tile(q_rows, counts[0], block_half), tile(k_rows, counts[1], block_half))
    together = k is not None and of_one_token(*tiles)
    return _turn.prepare(
        tiles[0].blocks + (0 if k is None or together else tiles[1].blocks),
        (q, other, cos, sin, q_out, k_out),
        (
            tiles[0].blocks, cos.stride(-1), sin.stride(-1),
            counts[0], *q_rows.sizes, *q_rows.strides, counts[1], *k_rows.sizes, *k_rows.strides,
        ),
        (
            form.interleaved, form.half_table, backward, k is not None, together,
            max(counts) >= MOST_NARROW, q_rows.levels,
            k_rows.levels, *[t.shared for t in tiles], half, *rests, *[t.rows for t in tiles],
            block_half,
            *[next_power_of_two(rest) for rest in rests],
        ),
        warps(aligned),
    )  # fmt: skip


class Tile(NamedTuple):
    """`shared`: its rows are heads of one token, which share a row of the tables."""

    shared: bool
    rows: int
    blocks: int


def of_one_token(q: Tile, k: Tile) -> bool:
    """Whether a program turns a tile of each: the few heads of k are no work for one of their own."""
    return q.shared and k.shared and q.blocks == k.blocks and k.rows < q.rows


def tile(rows: Rows, count: int, block_half: int) -> Tile:
    """The tile for `count` rows that are stepped through as `rows`."""
    most = max(TILE // (2 * block_half), 1)
    heads = rows.sizes[1]
    cos_step, sin_step = rows.strides[5], rows.strides[8]
    if rows.levels > 1 and cos_step == sin_step == 0 and heads >= 4:
        size = min(next_power_of_two(heads), 2 * most)
        return Tile(True, size, count // heads * -(-heads // size))
    return Tile(False, most, -(-count // most))


def _rows(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> Rows | None:
    """How to step through `x`, the tables and `y`, in the order in which x lies in memory.

    So neighbouring rows are the heads of one token, which share a row of the tables.
    """
    if x.shape[-1] > 1 and (x.stride(-1) != 1 or y.stride(-1) != 1):
        return None
    leading = x.shape[:-1]
    cos, sin = (t.expand(*leading, t.shape[-1]) for t in (cos, sin))
    order = sorted(range(len(leading)), key=x.stride, reverse=True)
    return rows_of(*[t.permute(*order, -1) for t in (x, cos, sin, y)])
