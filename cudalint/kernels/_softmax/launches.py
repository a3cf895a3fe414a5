"""What a GPU runs: which kernel, with which blocks, for softmax forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._blocks import Blocks, narrow, next_power_of_two, remembered
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._rows import Rows, dense_last, rows_of, shape_as_rows
from cudalint.kernels._softmax import triton_kernels as kernels
from cudalint.kernels._softmax.teams import LONGEST_ALONE, Launch, by_teams

_forward_short = Launcher(kernels.forward_short)
_forward_long = Launcher(kernels.forward_long)
_backward_short = Launcher(kernels.backward_short)
_backward_long = Launcher(kernels.backward_long)

_contiguous_forwards: dict[tuple[object, ...], Prepared] = {}
_contiguous_backwards: dict[tuple[object, ...], Launch] = {}


def forward_blocks(cols: int) -> Blocks:
    width = next_power_of_two(cols)
    if width <= 2048:
        return narrow(width, 2048, warps=4)
    if cols <= 16384:
        return Blocks(True, 1, width, width // 512)
    return Blocks(False, 1, 8192, 16) if cols <= 32768 else Blocks(False, 1, 16384, 32)


def backward_blocks(cols: int) -> Blocks:
    width = next_power_of_two(cols)
    if width <= 2048:
        return narrow(width, 2048, warps=4)
    if cols <= 16384:
        return Blocks(True, 1, width, width // 512)
    return Blocks(False, 1, 8192, 32 if cols <= LONGEST_ALONE else 16)


# Columns above which the second reading goes backwards, from what the first left in the cache: at
# 131,072 it gains 3 to 4 %, at 65,536 it would lose as much.
MOST_FORWARDS = 65536


def forward(x: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    key = (x.shape, x.dtype, dtype, log)
    prepared = _contiguous_forwards.get(key) if x.is_contiguous() else None
    if prepared is not None:
        y = torch.empty_like(x, dtype=dtype)
        prepared(x, y)
        return y
    x = dense_last(x)
    y = torch.empty(x.shape, dtype=dtype, device=x.device)
    if x.numel() == 0:
        return y
    rows = rows_of(x, y)
    if rows is None:
        return forward(x.contiguous(), dtype, log)
    prepared = _prepare_forward(x, y, rows, log)
    if x.is_contiguous():
        remembered(_contiguous_forwards)[key] = prepared
    prepared(x, y)
    return y


def _prepare_forward(x: Tensor, y: Tensor, rows: Rows, log: bool) -> Prepared:
    count, cols = shape_as_rows(x)
    blocks = forward_blocks(cols)
    rounds = y.dtype != x.dtype and y.dtype != torch.float32
    precise = x.dtype == torch.float32  # by x: so y in bfloat16 is y in float32, rounded
    vector = 16 // x.element_size()
    return (_forward_short if blocks.whole else _forward_long).prepare(
        -(-count // blocks.rows),
        (x, y),
        (count, cols, *rows.sizes, *rows.strides),
        (
            rows.levels, log, rounds, precise, blocks.rows, blocks.cols, vector,
            cols > MOST_FORWARDS,
        ),
        blocks.warps,
    )  # fmt: skip


def backward(dy: Tensor, y: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    contiguous = dy.is_contiguous() and y.is_contiguous()
    key = (y.shape, dy.dtype, y.dtype, dtype, log)
    prepared = _contiguous_backwards.get(key) if contiguous else None
    if prepared is not None:
        dx = torch.empty_like(y, dtype=dtype)
        prepared(dy, y, dx)
        return dx
    dy, y = dense_last(dy), dense_last(y)
    dx = torch.empty(y.shape, dtype=dtype, device=y.device)
    if y.numel() == 0:
        return dx
    rows = rows_of(dy, y, dx)
    if rows is None:
        return backward(dy.contiguous(), y.contiguous(), dtype, log)
    prepared = _prepare_backward(dy, y, dx, rows, log)
    if contiguous:
        remembered(_contiguous_backwards)[key] = prepared
    prepared(dy, y, dx)
    return dx


def _prepare_backward(dy: Tensor, y: Tensor, dx: Tensor, rows: Rows, log: bool) -> Launch:
    count, cols = shape_as_rows(y)
    blocks = backward_blocks(cols)
    precise = dx.dtype == torch.float32
    if blocks.whole:
        return _backward_short.prepare(
            -(-count // blocks.rows),
            (dy, y, dx),
            (count, cols, *rows.sizes, *rows.strides),
            (rows.levels, log, precise, blocks.rows, blocks.cols),
            blocks.warps,
        )
    return by_teams(
        _backward_long, (dy, y, dx), count, cols, blocks, (*rows.sizes, *rows.strides),
        (rows.levels, log, precise, blocks.cols),
    )  # fmt: skip
