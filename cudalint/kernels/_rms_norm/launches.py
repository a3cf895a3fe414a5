"""What a GPU runs for RMSNorm: which kernel, with which blocks.

The blocks are those that were fastest on an H200; docs/kernels-notes.md holds what was tried.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._blocks import (
    Blocks,
    narrow,
    next_power_of_two,
    programs_at_once,
    remembered,
    shared_memory,
    tiles_fit,
)
from cudalint.kernels._launch import Launcher, Prepared, properties
from cudalint.kernels._rms_norm import backward_kernels, chunk_kernels, forward_kernels
from cudalint.kernels._rms_norm.reference import Form, result_dtype
from cudalint.kernels._rows import Rows, dense_last, rows_of, shape_as_rows

_forward_short = Launcher(forward_kernels.forward_short)
_forward_long = Launcher(forward_kernels.forward_long)
_backward_short = Launcher(backward_kernels.backward_short)
_backward_long = Launcher(backward_kernels.backward_long)
_backward_chunks = Launcher(chunk_kernels.backward_chunks)
_sum_parts = Launcher(backward_kernels.sum_parts)


class Chunks(NamedTuple):
    """The tile of `backward_chunks`."""

    number: int
    cols: int
    ahead: bool
    warps: int


class Backward(NamedTuple):
    """A prepared backward: the kernel, the shape of dweight's parts, and what adds them up."""

    launch: Prepared
    parts: tuple[int, int] | None
    zeroed: bool
    add: Prepared | None


_contiguous_forwards: dict[tuple[object, ...], tuple[Prepared, torch.dtype]] = {}
_contiguous_backwards: dict[tuple[object, ...], Backward] = {}


def forward_blocks(cols: int) -> Blocks:
    width = next_power_of_two(cols)
    if width <= 2048:
        return narrow(width, 2048, warps=4)
    if cols < 4096:
        return Blocks(True, 1, width, 4)
    if cols < 8192:
        return Blocks(False, 1, 2048, 8)
    return Blocks(False, 1, 4096, 16) if cols <= 16384 else Blocks(False, 1, 8192, 32)


def backward_blocks(cols: int, weight_grad: bool, halves: bool, hopper: bool) -> Blocks | Chunks:
    """`halves`: x and dy are 2 bytes wide, so that a chunk of both fits beside dweight."""
    width = next_power_of_two(cols)
    if width <= 2048:
        return narrow(width, 1024, warps=4)
    if width <= 8192:
        return Blocks(True, 1, width, 16 if width > 4096 else 8)
    if not weight_grad:
        return Blocks(False, 1, 8192, 32)
    if halves and cols <= 32768 and cols % 2048 == 0:
        ahead = hopper and cols <= 16384
        chunk = math.gcd(cols, 8192 if cols == 16384 else 4096) if ahead else 2048
        return Chunks(cols // chunk, chunk, ahead, warps=16)
    return Blocks(False, 4, 1024, 8)


def forward(x: Tensor, weight: Tensor | None, form: Form) -> Tensor:
    contiguous = x.is_contiguous() and (weight is None or weight.is_contiguous())
    key = (x.shape, x.dtype, None if weight is None else weight.dtype, form)
    known = _contiguous_forwards.get(key) if contiguous else None
    if known is not None:
        y = torch.empty_like(x, dtype=known[1])
        known[0](x, x if weight is None else weight, y)
        return y
    x = dense_last(x)
    y = torch.empty_like(x, dtype=result_dtype(x, weight, form.late))
    if x.numel() == 0:
        return y
    rows = rows_of(x, y)
    if rows is None:
        return forward(x.contiguous(), weight, form)
    w = x if weight is None else weight.contiguous()
    prepared = _prepare_forward(x, w, y, rows, form, weight is not None)
    if contiguous:
        remembered(_contiguous_forwards)[key] = prepared, y.dtype
    prepared(x, w, y)
    return y


def _prepare_forward(
    x: Tensor, w: Tensor, y: Tensor, rows: Rows, form: Form, has_weight: bool
) -> Prepared:
    count, cols = shape_as_rows(x)
    blocks = forward_blocks(cols)
    return (_forward_short if blocks.whole else _forward_long).prepare(
        -(-count // blocks.rows),
        (x, w, y),
        (count, cols, *rows.sizes, *rows.strides, *_numbers(form)),
        (rows.levels, form.late, has_weight, blocks.rows, blocks.cols),
        blocks.warps,
    )


def backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, form: Form, x_grad: bool, weight_grad: bool
) -> tuple[Tensor, Tensor]:
    """(dx, dweight), each empty where it is not asked for."""
    weight_grad = weight_grad and weight is not None
    contiguous = dy.is_contiguous() and x.is_contiguous()
    w_dtype = None if weight is None else weight.dtype
    key = (x.shape, x.get_device(), dy.dtype, x.dtype, w_dtype, form, x_grad, weight_grad)
    plan = _contiguous_backwards.get(key) if contiguous else None
    if plan is not None:
        dx = torch.empty_like(x) if x_grad else x.new_empty(0)
        return dx, _run_backward(plan, dy, x, weight, dx)
    x, dy = dense_last(x), dense_last(dy)
    dx = torch.empty_like(x) if x_grad else x.new_empty(0)
    if x.numel() == 0:
        return dx, x.new_zeros(x.shape[-1] if weight_grad else 0, dtype=w_dtype)
    blocks = _backward_blocks(dy, x, weight_grad)
    rows = rows_of(dy, x, dx if x_grad else x)
    if rows is None or (isinstance(blocks, Chunks) and not contiguous):
        return backward(dy.contiguous(), x.contiguous(), weight, form, x_grad, weight_grad)
    plan = _prepare_backward(dy, x, weight, dx, rows, form, blocks, weight_grad)
    if contiguous:
        remembered(_contiguous_backwards)[key] = plan
    return dx, _run_backward(plan, dy, x, weight, dx)


def _backward_blocks(dy: Tensor, x: Tensor, weight_grad: bool) -> Blocks | Chunks:
    device = x.get_device()
    halves = x.element_size() == 2 and dy.element_size() == 2
    hopper = device < 0 or properties(device).major == 9
    return backward_blocks(x.shape[-1], weight_grad, halves, hopper)


def _run_backward(
    plan: Backward, dy: Tensor, x: Tensor, weight: Tensor | None, dx: Tensor
) -> Tensor:
    """Fills dx, returns dweight."""
    w = x if weight is None else weight.contiguous()
    if plan.parts is None or plan.add is None:
        plan.launch(dy, x, w, dx, x)
        return x.new_empty(0)
    make = torch.zeros if plan.zeroed else torch.empty
    parts = make(plan.parts, dtype=torch.float32, device=x.device)
    plan.launch(dy, x, w, dx, parts)
    dweight = torch.empty_like(w)
    plan.add(parts, dweight)
    return dweight


def _prepare_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    dx: Tensor,
    rows: Rows,
    form: Form,
    blocks: Blocks | Chunks,
    weight_grad: bool,
) -> Backward:
    count, cols = shape_as_rows(x)
    row_blocks = count if isinstance(blocks, Chunks) else -(-count // blocks.rows)
    programs = (
        min(row_blocks, programs_at_once(x.get_device(), blocks.warps))
        if weight_grad
        else row_blocks
    )
    part = torch.empty(0, dtype=torch.float32, device=x.device) if weight_grad else x
    w = x if weight is None else weight
    numbers: tuple[int | float, ...] = (count, cols, *rows.sizes, *rows.strides, *_numbers(form))
    if isinstance(blocks, Chunks):
        numbers = (count, cols, *_numbers(form))
    launcher, constants = _kernel(blocks, dy, x, weight, dx, rows, form, weight_grad)
    launch = launcher.prepare(programs, (dy, x, w, dx, part), numbers, constants, blocks.warps)
    if not weight_grad:
        return Backward(launch, None, False, None)
    add = _sum_parts.prepare(-(-cols // 32), (part, w), (programs, cols), (64, 32), 4)
    return Backward(launch, (programs, cols), launcher is _backward_long, add)


def _numbers(form: Form) -> tuple[float, float]:
    return form.eps, form.weight_offset


def _kernel(
    blocks: Blocks | Chunks,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    dx: Tensor,
    rows: Rows,
    form: Form,
    weight_grad: bool,
) -> tuple[Launcher, tuple[object, ...]]:
    """The kernel that a tile belongs to, and its constants."""
    x_grad = dx.numel() > 0
    if isinstance(blocks, Chunks):
        return _backward_chunks, (form.late, x_grad, blocks.number, blocks.cols, blocks.ahead)
    constants = (rows.levels, form.late, weight is not None, x_grad, weight_grad)
    if not blocks.whole:
        return _backward_long, (*constants, blocks.rows, blocks.cols)
    stages = _stages(x, dy, blocks) if weight_grad else 1
    return _backward_short, (*constants, stages, blocks.rows, blocks.cols)


def _stages(x: Tensor, dy: Tensor, blocks: Blocks) -> int:
    """How far ahead rows are fetched."""
    room = shared_memory(x.get_device())
    return 3 if tiles_fit(2, blocks, x.element_size() + dy.element_size(), room) else 2
