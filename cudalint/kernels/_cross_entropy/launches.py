"""What a GPU runs for cross-entropy: which kernel, with which blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from cudalint.kernels._blocks import Blocks, narrow, next_power_of_two, remembered
from cudalint.kernels._cross_entropy import reference
from cudalint.kernels._cross_entropy import triton_kernels as kernels
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._cross_entropy.registration import Known
from cudalint.kernels._launch import Launcher, Number, Prepared
from cudalint.kernels._rows import dense_last, rows_of, shape_as_rows

_forward_short = Launcher(kernels.forward_short)
_forward_long = Launcher(kernels.forward_long)
_reduce = Launcher(kernels.reduce)
_backward = Launcher(kernels.backward)

_forwards: dict[tuple[object, ...], Prepared] = {}
_reductions: dict[tuple[object, ...], Prepared] = {}
_backwards: dict[tuple[object, ...], Prepared] = {}

# Rows that one program adds up; torch's own sum takes more.
MOST_ROWS_REDUCED = 32768
REDUCE_BLOCK = 4096
REDUCE_WARPS = 16

TILE = 2048
TILE_WARPS = 4

# Rows with which programs of 4 warps fill a GPU.
MANY_ROWS = 1024


def forward_blocks(cols: int, rows: int) -> Blocks:
    width = next_power_of_two(cols)
    if width <= 2048:
        return narrow(width, 2048, warps=4)
    if rows >= MANY_ROWS:
        return Blocks(False, 1, 2048, 4)
    return Blocks(False, 1, 4096, 8) if cols <= 4096 else Blocks(False, 1, 8192, 16)


def backward_tile(cols: int) -> tuple[int, int]:
    """(rows, columns) of a tile."""
    width = min(next_power_of_two(cols), TILE)
    return min(TILE // width, 256), width


def loss(logits: Tensor, target: Tensor, known: Known) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the rows' statistics, and what a row counts for: what is done at each call, no more.

    Where each loss is wanted nothing reads the third: whatever there is stands in for it, but not
    the losses, which their owner may write to.
    """
    options = known.options
    if known.is_new:
        known.is_new, known.single = False, _prepare_single(logits, target, options)
    if known.single is not None:
        statistics = torch.empty((2, *target.shape), dtype=torch.float32, device=logits.device)
        loss = torch.empty((), dtype=torch.float32, device=logits.device)
        share = torch.empty_like(loss)
        known.single(logits, target, loss, statistics, share)
        return loss, statistics, share
    if known.forward is None:
        losses, statistics = rows_forward(logits, target, options)
        known.forward = _forwards.get((*_layout(logits, target), options))
        if options.reduction == "none":
            return losses, statistics, statistics
        loss, share = reduced(losses, target, options)
        known.reduce = _reductions.get(_reduction_key(target, options))
        return loss, statistics, share
    losses = torch.empty(target.shape, dtype=torch.float32, device=logits.device)
    statistics = torch.empty((2, *target.shape), dtype=torch.float32, device=logits.device)
    known.forward(logits, target, losses, statistics, statistics)
    if options.reduction == "none":
        return losses, statistics, statistics
    if known.reduce is None:
        loss, share = reduced(losses, target, options)
    else:
        loss = torch.empty((), dtype=torch.float32, device=logits.device)
        share = torch.empty_like(loss)
        known.reduce(losses, target, loss, share)
    return loss, statistics, share


def gradient(
    dloss: Tensor, logits: Tensor, target: Tensor, statistics: Tensor, share: Tensor, known: Known
) -> Tensor:
    """dx: what is done at each call, no more."""
    if known.backward is None or not dloss.is_contiguous():
        dx = backward(dloss, logits, target, statistics, share, known.options)
        if dloss.is_contiguous() and logits.is_contiguous():
            key = (*_layout(logits, target), known.options, dx.stride())
            known.backward = _backwards.get(key)
        return dx
    dx = torch.empty_like(logits)
    known.backward(dloss, logits, target, statistics, share, dx)
    return dx


def rows_forward(logits: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """As `reference.rows_forward`."""
    logits = dense_last(logits)
    losses = torch.empty(target.shape, dtype=torch.float32, device=logits.device)
    statistics = torch.empty((2, *target.shape), dtype=torch.float32, device=logits.device)
    if target.numel() == 0:
        return losses, statistics
    key = (*_layout(logits, target), options)
    prepared = _forwards.get(key)
    if prepared is None:
        prepared = _prepare_forward(logits, target, losses, statistics, options)
        if prepared is None:
            return rows_forward(logits.contiguous(), target.contiguous(), options)
        remembered(_forwards)[key] = prepared
    prepared(logits, target, losses, statistics, statistics)
    return losses, statistics


def reduced(losses: Tensor, target: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """The loss and what a row counts for in it."""
    if options.reduction == "none":
        return losses, torch.ones((), dtype=torch.float32, device=losses.device)
    key = _reduction_key(target, options)
    prepared = _reductions.get(key) or _prepare_reduction(losses, target, options)
    if prepared is None:
        share = reference.share_of_each(target, options, losses)
        return reference.reduced(losses, share, options), share
    loss = torch.empty((), dtype=torch.float32, device=losses.device)
    share = torch.empty_like(loss)
    remembered(_reductions)[key] = prepared
    prepared(losses, target, loss, share)
    return loss, share


def backward(
    dloss: Tensor,
    logits: Tensor,
    target: Tensor,
    statistics: Tensor,
    share: Tensor,
    options: Options,
    dx: Tensor | None = None,
) -> Tensor:
    """dx from the gradient of the loss; a contiguous `dx`, given, may be the logits themselves."""
    logits, dloss, statistics = dense_last(logits), dloss.contiguous(), statistics.contiguous()
    if dx is None:
        dx = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    if target.numel() == 0:
        return dx
    key = (*_layout(logits, target), options, dx.stride())
    prepared = _backwards.get(key)
    tensors = (dloss, logits, target, statistics, share, dx)
    if prepared is None:
        prepared = _prepare_backward(tensors, options)
        if prepared is None:
            target = target.contiguous()
            return backward(dloss, logits.contiguous(), target, statistics, share, options, dx)
        remembered(_backwards)[key] = prepared
    prepared(*tensors)
    return dx


def _reduction_key(target: Tensor, options: Options) -> tuple[object, ...]:
    return target.shape, target.stride(), target.dtype, options.ignore_index, options.reduction


def _layout(logits: Tensor, target: Tensor) -> tuple[object, ...]:
    return logits.shape, logits.stride(), logits.dtype, target.stride(), target.dtype


def _numbers(options: Options) -> tuple[Number, ...]:
    softcap = 1.0 if options.softcap is None else float(options.softcap)
    return options.ignore_index, float(options.label_smoothing), softcap, float(options.z_loss)


def _switches(options: Options) -> tuple[bool, bool, bool]:
    return options.label_smoothing > 0.0, options.softcap is not None, options.z_loss != 0.0


def _prepare_reduction(losses: Tensor, target: Tensor, options: Options) -> Prepared | None:
    """None where torch's own sum takes it."""
    rows = None
    if 0 < losses.numel() <= MOST_ROWS_REDUCED:
        rows = rows_of(target.unsqueeze(-1))
    if rows is None:
        return None
    return _reduce.prepare(
        1,
        (losses, target, losses, losses),
        (losses.numel(), *rows.sizes, *rows.strides, options.ignore_index),
        (rows.levels, options.reduction == "mean", REDUCE_BLOCK),
        REDUCE_WARPS,
    )


def _prepare_single(logits: Tensor, target: Tensor, options: Options) -> Prepared | None:
    """The launch that makes the loss too; None where rows take more than one program."""
    rows, cols = shape_as_rows(logits)
    blocks = forward_blocks(cols, rows)
    if options.reduction == "none" or dense_last(logits) is not logits:
        return None
    if not blocks.whole or not 0 < rows <= blocks.rows:
        return None
    single = torch.empty(0, dtype=torch.float32, device=logits.device)
    reduction = 2 if options.reduction == "mean" else 1
    return _prepare_forward(logits, target, single, single, options, reduction)


def _prepare_forward(
    logits: Tensor,
    target: Tensor,
    losses: Tensor,
    statistics: Tensor,
    options: Options,
    reduction: int = 0,
) -> Prepared | None:
    rows = rows_of(logits, target.unsqueeze(-1))
    if rows is None:
        return None
    count, cols = shape_as_rows(logits)
    blocks = forward_blocks(cols, count)
    return (_forward_short if blocks.whole else _forward_long).prepare(
        -(-count // blocks.rows),
        (logits, target, losses, statistics, statistics),
        (count, cols, *rows.sizes, *rows.strides, *_numbers(options)),
        (
            rows.levels, *_switches(options), blocks.rows, blocks.cols,
            16 // logits.element_size(), reduction,
        ),
        blocks.warps,
    )  # fmt: skip


def _prepare_backward(tensors: tuple[Tensor, ...], options: Options) -> Prepared | None:
    _, logits, target, _, _, dx = tensors
    rows = rows_of(logits, target.unsqueeze(-1), dx)
    if rows is None:
        return None
    count, cols = shape_as_rows(logits)
    block_rows, block_cols = backward_tile(cols)
    col_blocks = -(-cols // block_cols)
    return _backward.prepare(
        -(-count // block_rows) * col_blocks,
        tensors,
        (count, cols, col_blocks, *rows.sizes, *rows.strides, *_numbers(options)),
        (
            rows.levels, options.reduction != "none", *_switches(options), block_rows, block_cols,
        ),
        TILE_WARPS,
    )  # fmt: skip
