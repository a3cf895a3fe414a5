"""Rows that share one row of scale, shift and gate."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._rows import dense_last, merged_stride

# Groups of fewer rows would leave most of a tile empty: each row then reads its own.
FEWEST_ROWS = 4


class Groups(NamedTuple):
    """`rows` rows each; `dims` of the leading dimensions tell the groups apart.

    `per_row`: one group of all rows, and a row of scale, shift and gate for each.
    """

    number: int
    rows: int
    dims: int
    per_row: bool

    @property
    def modulation_rows(self) -> int:
        return self.rows if self.per_row else self.number


def groups_of(shape: torch.Size, modulations: list[Tensor]) -> Groups:
    """The largest groups within which no modulation changes."""
    leading, dims = shape[:-1], 0
    for i, size in enumerate(leading):
        if size != 1 and any([m.shape[i] != 1 for m in modulations]):
            dims = i + 1
    number, rows = math.prod(leading[:dims]), math.prod(leading[dims:])
    if dims and rows < FEWEST_ROWS:
        return Groups(1, number * rows, len(leading), True)
    return Groups(number, rows, dims, False)


def readable(modulation: Tensor, shape: torch.Size, groups: Groups) -> tuple[Tensor, int]:
    """`modulation`, copied where one stride does not lead from group to group, and that stride."""
    dims = groups.dims
    rows = dense_last(modulation).expand(*shape[:dims], *modulation.shape[dims:])
    rows = rows[(slice(None),) * dims + (0,) * (len(shape) - 1 - dims)]
    stride = merged_stride(rows)
    if stride is None:
        return rows.contiguous(), shape[-1]
    return dense_last(modulation), stride


def in_shape(gradient: Tensor, like: Tensor, shape: torch.Size, groups: Groups) -> Tensor:
    """[groups, columns] as the gradient of `like`, whose broadcast dimensions are summed over."""
    dims = groups.dims
    spread = gradient.view(*shape[:dims], *(1,) * (len(shape) - 1 - dims), shape[-1])
    return spread if spread.shape == like.shape else spread.sum_to_size(like.shape).to(like.dtype)


def is_whole(like: Tensor, shape: torch.Size, groups: Groups) -> bool:
    """Whether `like` has a row of its own for each group."""
    return like.shape[: groups.dims] == shape[: groups.dims]
