"""Cross-entropy over the last dimension in Triton. Imported by the first launch on a GPU.

Bytes: forward reads the logits (N); backward reads them and writes their gradient (2N).
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import exp, row_offset, tanh


@triton.jit
def _capped(x, softcap, CAPPED: tl.constexpr, PRECISE: tl.constexpr):
    return softcap * tanh(x / softcap, PRECISE) if CAPPED else x


@triton.jit
def _losses(
    log_sum, highest, at_target, mean, valid, label_smoothing, z_loss, SMOOTHED: tl.constexpr,
    SQUARED: tl.constexpr,
):  # fmt: skip
    """The loss of each row; `mean` is that of all x, less `highest`."""
    loss = log_sum - (at_target - highest)
    if SMOOTHED:
        loss = (1.0 - label_smoothing) * loss + label_smoothing * (log_sum - mean)
    if SQUARED:
        lse = highest + log_sum
        loss += z_loss * lse * lse
    return tl.where(valid, loss, float("nan"))


@triton.jit
def forward_short(
    x_ptr,
    target_ptr,
    losses_ptr,
    statistics_ptr,
    share_ptr,
    rows,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ts0,
    ts1,
    ts2,
    ignore_index,
    label_smoothing,
    softcap,
    z_loss,
    LEVELS: tl.constexpr,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    SQUARED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    VECTOR: tl.constexpr,
    REDUCTION: tl.constexpr,
):
    """Whole rows in registers.

    REDUCTION, where one program has all rows: 1: the loss is their sum, 2: their mean; as `reduce`.
    """
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inside = row < rows
    target_at = row_offset(row, size1, size2, ts0, ts1, ts2, LEVELS)
    target = tl.load(target_ptr + target_at, mask=inside, other=0).to(tl.int64)
    kept = inside & (target != ignore_index)
    valid = (target >= 0) & (target < cols)
    col = tl.arange(0, BLOCK_COLS)[None, :]
    mask = kept[:, None] & (col < cols)
    x_row = x_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)
    x = tl.load(x_row[:, None] + col, mask=mask, other=0.0).to(tl.float32)
    x = tl.where(mask, _capped(x, softcap, CAPPED, PRECISE), -float("inf"))
    highest = tl.max(x, axis=1)
    highest = tl.where(highest == -float("inf"), 0.0, highest)  # −inf − −inf would be NaN
    shifted = x - highest[:, None]
    log_sum = tl.log(tl.sum(exp(shifted, PRECISE), axis=1))
    at_target = tl.load(x_row + target, mask=kept & valid, other=0.0).to(tl.float32)
    at_target = _capped(at_target, softcap, CAPPED, PRECISE)
    mean = highest
    if SMOOTHED:
        mean = tl.sum(tl.where(mask, shifted, 0.0), axis=1) / cols
    loss = _losses(
        log_sum, highest, at_target, mean, valid, label_smoothing, z_loss, SMOOTHED, SQUARED
    )
    loss = tl.where(kept, loss, 0.0)
    if REDUCTION == 0:
        tl.store(losses_ptr + row, loss, mask=inside)
    else:
        share = 1.0
        if REDUCTION == 2:
            share = 1.0 / tl.sum(kept.to(tl.int32), axis=0).to(tl.float32)
        tl.store(share_ptr, share)
        tl.store(losses_ptr, tl.sum(loss, axis=0) * share)
    tl.store(statistics_ptr + row, tl.where(kept, highest, 0.0), mask=inside)
    tl.store(statistics_ptr + rows + row, tl.where(kept, log_sum, 0.0), mask=inside)


@triton.jit
def forward_long(
    x_ptr,
    target_ptr,
    losses_ptr,
    statistics_ptr,
    share_ptr,
    rows,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ts0,
    ts1,
    ts2,
    ignore_index,
    label_smoothing,
    softcap,
    z_loss,
    LEVELS: tl.constexpr,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    SQUARED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    VECTOR: tl.constexpr,
    REDUCTION: tl.constexpr,
):
    """The online form, one row a program; a row that is ignored is not read.

    Each group of VECTOR neighbours has a maximum and a sum of its own, all inside one thread, so
    a block costs 1 + 1/VECTOR exponentials an element and no exchange between threads.
    """
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    row = tl.program_id(0).to(tl.int64)
    target_at = row_offset(row, size1, size2, ts0, ts1, ts2, LEVELS)
    target = tl.load(target_ptr + target_at).to(tl.int64)
    kept = target != ignore_index
    valid = (target >= 0) & (target < cols)
    x_row = x_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)
    at_target = tl.load(x_row + target, mask=kept & valid, other=0.0).to(tl.float32)
    at_target = _capped(at_target, softcap, CAPPED, PRECISE)
    # sums of x are made of x − near, with near a number of the row, so that they stay small
    near = tl.where(tl.abs(at_target) < float("inf"), at_target, 0.0)
    groups: tl.constexpr = BLOCK_COLS // VECTOR
    inside = tl.arange(0, groups)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]
    maxima = tl.full([groups], -float("inf"), tl.float32)
    sums = tl.zeros([groups], tl.float32)
    plain_sums = tl.zeros([groups], tl.float32)
    for start in range(0, tl.where(kept, cols, 0), BLOCK_COLS):
        col = start + inside
        mask = col < cols
        x = tl.load(x_row + col, mask=mask, other=0.0).to(tl.float32)  # [groups, VECTOR]
        x = _capped(x, softcap, CAPPED, PRECISE)
        if SMOOTHED:
            plain_sums += tl.sum(tl.where(mask, x - near, 0.0), axis=1)
        x = tl.where(mask, x, -float("inf"))
        higher = tl.maximum(maxima, tl.max(x, axis=1))
        base = tl.where(higher == -float("inf"), 0.0, higher)  # −inf − −inf would be NaN
        rescaled = sums * exp(maxima - base, PRECISE)
        sums = rescaled + tl.sum(exp(x - base[:, None], PRECISE), axis=1)
        maxima = higher
    highest = tl.max(maxima, axis=0)
    highest = tl.where(highest == -float("inf"), 0.0, highest)
    log_sum = tl.log(tl.sum(sums * exp(maxima - highest, PRECISE), axis=0))
    mean = highest
    if SMOOTHED:
        mean = tl.sum(plain_sums, axis=0) / cols - (highest - near)
    loss = _losses(
        log_sum, highest, at_target, mean, valid, label_smoothing, z_loss, SMOOTHED, SQUARED
    )
    tl.store(losses_ptr + row, tl.where(kept, loss, 0.0))
    tl.store(statistics_ptr + row, tl.where(kept, highest, 0.0))
    tl.store(statistics_ptr + rows + row, tl.where(kept, log_sum, 0.0))


@triton.jit
def reduce(
    losses_ptr,
    target_ptr,
    loss_ptr,
    share_ptr,
    rows,
    size1,
    size2,
    ts0,
    ts1,
    ts2,
    ignore_index,
    LEVELS: tl.constexpr,
    MEAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The sum of all losses, or their mean over the rows that are not ignored; in one program."""
    total = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.int32)
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK).to(tl.int64)
        mask = row < rows
        total += tl.load(losses_ptr + row, mask=mask, other=0.0)
        if MEAN:
            at = row_offset(row, size1, size2, ts0, ts1, ts2, LEVELS)
            target = tl.load(target_ptr + at, mask=mask, other=0).to(tl.int64)
            count += (mask & (target != ignore_index)).to(tl.int32)
    share = 1.0
    if MEAN:
        share = 1.0 / tl.sum(count, axis=0).to(tl.float32)
    tl.store(share_ptr, share)
    tl.store(loss_ptr, tl.sum(total, axis=0) * share)  # 0 · ∞ is NaN, as the mean of nothing is


@triton.jit
def backward(
    dloss_ptr,
    x_ptr,
    target_ptr,
    statistics_ptr,
    share_ptr,
    dx_ptr,
    rows,
    cols,
    col_blocks,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ts0,
    ts1,
    ts2,
    ds0,
    ds1,
    ds2,
    ignore_index,
    label_smoothing,
    softcap,
    z_loss,
    LEVELS: tl.constexpr,
    REDUCED: tl.constexpr,
    SMOOTHED: tl.constexpr,
    CAPPED: tl.constexpr,
    SQUARED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Element by element; dx may be x itself. Rows that are ignored are not read."""
    PRECISE: tl.constexpr = x_ptr.dtype.element_ty == tl.float32
    number = tl.program_id(0)  # divided in 32 bits: 64 take as long as all the rest
    row = (number // col_blocks).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    col = (number % col_blocks).to(tl.int64) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    inside = row < rows
    target_at = row_offset(row, size1, size2, ts0, ts1, ts2, LEVELS)
    target = tl.load(target_ptr + target_at, mask=inside, other=0).to(tl.int64)
    kept = inside & (target != ignore_index)
    valid = (target >= 0) & (target < cols)
    highest = tl.load(statistics_ptr + row, mask=inside, other=0.0)
    log_sum = tl.load(statistics_ptr + rows + row, mask=inside, other=0.0)
    if REDUCED:
        factor = tl.load(dloss_ptr) * tl.load(share_ptr)
    else:
        factor = tl.load(dloss_ptr + row, mask=inside, other=0.0)
    factor = tl.where(valid, factor, float("nan"))
    x_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None] + col
    mask = kept[:, None] & (col < cols)  # [BLOCK_ROWS, BLOCK_COLS]
    x = tl.load(x_ptr + x_at, mask=mask, other=0.0).to(tl.float32)
    slope = factor[:, None]
    if CAPPED:
        share = tanh(x / softcap, PRECISE)
        x = softcap * share
        slope = slope * (1.0 - share * share)
    dx = exp(x - highest[:, None] - log_sum[:, None], PRECISE)
    if SQUARED:
        dx = dx * (1.0 + 2.0 * z_loss * (highest + log_sum))[:, None]
    if SMOOTHED:
        dx = dx - label_smoothing / cols
        at_target = 1.0 - label_smoothing
    else:
        at_target = 1.0
    dx = (dx - tl.where(col == target[:, None], at_target, 0.0)) * slope
    dx = tl.where(kept[:, None], dx, 0.0).to(dx_ptr.dtype.element_ty)
    dx_at = row_offset(row, size1, size2, ds0, ds1, ds2, LEVELS)[:, None] + col
    tl.store(dx_ptr + dx_at, dx, mask=inside[:, None] & (col < cols))
