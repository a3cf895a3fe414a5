"""What a GPU runs for the norms of this folder, forward: which tile, which strides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._blocks import multiprocessors, narrow, next_power_of_two, remembered
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._norms import forward_kernels
from cudalint.kernels._norms.groups import Groups, groups_of, readable
from cudalint.kernels._norms.reference import Form, Operands
from cudalint.kernels._rows import dense_last, rows_of

_forward = Launcher(forward_kernels.forward)

_ROUNDINGS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}

Key = tuple[object, ...]
_forwards: dict[Key, Prepared] = {}


class Tile(NamedTuple):
    """Whole rows, each in pieces of `first` and `rest` columns, powers of two; `rest` may be 0."""

    rows: int
    first: int
    rest: int
    warps: int

    @property
    def elements(self) -> int:
        return self.rows * (self.first + self.rest)

    def is_even(self, rows: int, cols: int) -> bool:
        """Whether `rows` of `cols` columns fill such tiles."""
        return cols == self.first + self.rest and rows % self.rows == 0

    def constants(self, rows: int, cols: int) -> tuple[int, int, int, bool]:
        return self.rows, self.first, self.rest, self.is_even(rows, cols)


def pieces(cols: int) -> tuple[int, int]:
    """(first, rest): one piece where a second would save nothing."""
    width = next_power_of_two(cols)
    first = width // 2
    rest = next_power_of_two(cols - first)
    return (width, 0) if width <= 1024 or rest == first else (first, rest)


def short_tile(cols: int, elements: int) -> Tile:
    """Of about `elements` elements, for rows of up to 1,024 columns."""
    blocks = narrow(next_power_of_two(cols), elements, warps=4)
    return Tile(blocks.rows, blocks.cols, 0, blocks.warps)


# Columns, padded, that one warp takes: at 1,152 it is 4 to 8 % faster than two, and wider was not tried.
NARROW = range(1025, 1153)


def forward_tile(cols: int) -> Tile:
    if cols <= 1024:
        return short_tile(cols, 2048)
    first, rest = pieces(cols)
    return Tile(1, first, rest, 1 if first + rest in NARROW else next_power_of_two(cols) // 1024)


def forward(o: Operands, form: Form, norm: bool = True) -> tuple[Tensor, Tensor]:
    """(y, h), both contiguous; h is x where there is no residual, y is h where there is no norm."""
    key = (form, norm, *layout(o))
    prepared = _forwards.get(key)
    if prepared is None:
        if o.x.numel() == 0:
            return _empty_results(o, form, norm)
        copied, prepared = _prepare_forward(o, form, norm)
        if all([a is b for a, b in zip(o, copied, strict=True)]):
            remembered(_forwards)[key] = prepared
        o = copied
    x = o.x
    y, h = _empty_results(o, form, norm)
    prepared(*[x if t is None else t for t in o], y, h)
    return y, h


def _empty_results(o: Operands, form: Form, norm: bool) -> tuple[Tensor, Tensor]:
    x = h = o.x
    if o.residual is not None:
        h = empty(x, form.sum_dtype)
    return empty(x, form.dtype) if norm else h, h


def empty(like: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous; `torch.empty` takes twice as long as `empty_like`."""
    if like.is_contiguous():
        return torch.empty_like(like, dtype=dtype)
    return torch.empty(like.shape, dtype=dtype, device=like.device)


def layout(tensors: tuple[Tensor | None, ...]) -> list[object]:
    return [None if t is None else (t.shape, t.stride(), t.dtype) for t in tensors]


def _prepare_forward(o: Operands, form: Form, norm: bool) -> tuple[Operands, Prepared]:
    """The operands as they can be read, and the launch."""
    x, residual = dense_last(o.x), o.residual
    if residual is not None:
        residual = dense_last(residual)
    rows = rows_of(x, x if residual is None else residual)
    if rows is None:
        x, residual = x.contiguous(), None if residual is None else residual.contiguous()
        rows = rows_of(x, x)
        assert rows is not None
    groups, modulations, strides = modulations_of(o)
    gate, scale, shift = modulations
    o = Operands(x, residual, gate, dense(o.weight), dense(o.bias), scale, shift)
    tile = forward_tile(x.shape[-1])
    tiles = -(-groups.rows // tile.rows)
    programs = tiles
    if residual is None and not groups.per_row and (scale is not None or shift is not None):
        programs = -(-tiles // turns(groups.number * tiles, x.get_device()))
    y, h = (torch.empty(0, dtype=d, device=x.device) for d in (form.dtype, form.sum_dtype))
    return o, _forward.prepare(
        groups.number * programs,
        (*[x if t is None else t for t in o], y, h if residual is not None else x),
        (
            groups.rows, programs, x.shape[-1], *rows.sizes, *rows.strides, *strides,
            *scalars(form, x.shape[-1]),
        ),
        (
            rows.levels, norm, form.layer, rounding(form),
            *[t is not None for t in o[1:]],
            groups.per_row, precise(form), programs < tiles,
            *tile.constants(groups.rows, x.shape[-1]),
        ),
        tile.warps,
    )  # fmt: skip


MOST_TURNS = 4


def turns(tiles: int, device: int) -> int:
    """How many tiles a program takes where rows share scale and shift: up to four, while there are
    programs for all places on the GPU. Beside a residual too much else is read for a gain."""
    at_once = 2 if device < 0 else 16 * multiprocessors(device)
    return max(min(tiles // at_once, MOST_TURNS), 1)


def modulations_of(o: Operands) -> tuple[Groups, list[Tensor | None], list[int]]:
    """Gate, scale and shift as they can be read, and their strides from group to group."""
    modulations = (o.gate, o.scale, o.shift)
    groups = groups_of(o.x.shape, [m for m in modulations if m is not None])
    tensors: list[Tensor | None] = []
    strides = []
    for m in modulations:
        tensor, stride = (m, 0) if m is None else readable(m, o.x.shape, groups)
        tensors.append(tensor)
        strides.append(stride)
    return groups, tensors, strides


def dense(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else vector.contiguous()


def scalars(form: Form, cols: int) -> tuple[float, float, float, float]:
    return 1.0 / max(cols, 1), form.eps, form.weight_offset, form.scale_offset


def rounding(form: Form) -> int:
    return 0 if form.late else _ROUNDINGS[form.norm_dtype]


def precise(form: Form) -> bool:
    return torch.float32 in (form.sum_dtype, form.dtype)
