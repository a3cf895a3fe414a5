"""Softmax and log-softmax over the last dimension in Triton. Imported by the first launch.

Bytes: forward reads x and writes y (2N); backward reads dy and y and writes dx (3N).
NaN and infinities come out as torch's own softmax gives them; a row of −inf is NaN.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from cudalint.kernels._device_math import exp, row_offset


@triton.jit
def _as_float(stored, y_ptr, ROUND: tl.constexpr):
    """float32, after the rounding to the result's dtype that `dtype=` asks for."""
    if ROUND:
        stored = stored.to(y_ptr.dtype.element_ty)
    return stored.to(tl.float32)


@triton.jit
def _block_start(done, cols, BLOCK_COLS: tl.constexpr, REVERSED: tl.constexpr):
    """Where the second reading goes on; REVERSED begins with what the first left in the cache."""
    return (cols - 1) // BLOCK_COLS * BLOCK_COLS - done if REVERSED else done


@triton.jit
def forward_short(
    x_ptr,
    y_ptr,
    rows,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ys0,
    ys1,
    ys2,
    LEVELS: tl.constexpr,
    LOG: tl.constexpr,
    ROUND: tl.constexpr,
    PRECISE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    VECTOR: tl.constexpr,
    REVERSED: tl.constexpr,
):
    """Whole rows in registers: x is read once."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    col = tl.arange(0, BLOCK_COLS)[None, :]
    mask = (row < rows)[:, None] & (col < cols)
    x_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None] + col
    x = _as_float(tl.load(x_ptr + x_at, mask=mask, other=-float("inf")), y_ptr, ROUND)
    shifted = x - tl.max(x, axis=1)[:, None]  # [BLOCK_ROWS, BLOCK_COLS]
    e = exp(shifted, PRECISE)
    total = tl.sum(e, axis=1)
    if LOG:
        y = shifted - tl.log(total)[:, None]
    elif PRECISE:
        y = tl.div_rn(e, tl.broadcast_to(total[:, None], e.shape))
    else:
        y = e * (1.0 / total)[:, None]
    y_at = row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)[:, None] + col
    tl.store(y_ptr + y_at, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def forward_long(
    x_ptr,
    y_ptr,
    rows,
    cols,
    size1,
    size2,
    xs0,
    xs1,
    xs2,
    ys0,
    ys1,
    ys2,
    LEVELS: tl.constexpr,
    LOG: tl.constexpr,
    ROUND: tl.constexpr,
    PRECISE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    VECTOR: tl.constexpr,
    REVERSED: tl.constexpr,
):
    """The online form, one row a program: maxima and sums first, y second, from the L2 cache.

    Each group of VECTOR neighbours has a maximum and a sum of its own, all inside one thread, so
    a block costs 1 + 1/VECTOR exponentials an element and no exchange between threads.
    """
    groups: tl.constexpr = BLOCK_COLS // VECTOR
    inside = tl.arange(0, groups)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]
    # One turn a program. Without the loop ptxas arranges the loads worse: 4 % at 65,536 columns.
    for number in range(tl.program_id(0), rows, tl.num_programs(0)):
        row = tl.full([], number, tl.int64)
        x_row = x_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)
        y_row = y_ptr + row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)
        maxima = tl.full([groups], -float("inf"), tl.float32)
        sums = tl.zeros([groups], tl.float32)
        for start in range(0, cols, BLOCK_COLS):
            col = start + inside
            x = tl.load(
                x_row + col, mask=col < cols, other=-float("inf"), eviction_policy="evict_last"
            )
            x = _as_float(x, y_ptr, ROUND)  # [groups, VECTOR]
            higher = tl.maximum(maxima, tl.max(x, axis=1))
            base = tl.where(higher == -float("inf"), 0.0, higher)  # −inf − −inf would be NaN
            rescaled = sums * exp(maxima - base, PRECISE)
            sums = rescaled + tl.sum(exp(x - base[:, None], PRECISE), axis=1)
            maxima = higher
        highest = tl.max(maxima, axis=0)
        base = tl.where(highest == -float("inf"), 0.0, highest)
        total = tl.sum(sums * exp(maxima - base, PRECISE), axis=0)
        log_total = tl.log(total)
        inverse = 1.0 / total
        for done in range(0, cols, BLOCK_COLS):
            start = _block_start(done, cols, BLOCK_COLS, REVERSED)
            col = start + inside
            mask = col < cols
            x = tl.load(x_row + col, mask=mask, other=0.0, eviction_policy="evict_first")
            shifted = _as_float(x, y_ptr, ROUND) - base
            if LOG:
                y = shifted - log_total
            elif PRECISE:
                y = tl.div_rn(exp(shifted, PRECISE), tl.broadcast_to(total, shifted.shape))
            else:
                y = exp(shifted, PRECISE) * inverse
            y = y.to(y_ptr.dtype.element_ty)
            tl.store(y_row + col, y, mask=mask, eviction_policy="evict_first")


@triton.jit
def backward_short(
    dy_ptr,
    y_ptr,
    dx_ptr,
    rows,
    cols,
    size1,
    size2,
    ds0,
    ds1,
    ds2,
    ys0,
    ys1,
    ys2,
    xs0,
    xs1,
    xs2,
    LEVELS: tl.constexpr,
    LOG: tl.constexpr,
    PRECISE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Whole rows in registers: dy and y are read once."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    col = tl.arange(0, BLOCK_COLS)[None, :]
    mask = (row < rows)[:, None] & (col < cols)
    dy_at = row_offset(row, size1, size2, ds0, ds1, ds2, LEVELS)[:, None] + col
    y_at = row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)[:, None] + col
    dy = tl.load(dy_ptr + dy_at, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + y_at, mask=mask, other=0.0).to(tl.float32)
    if LOG:
        dx = dy - exp(y, PRECISE) * tl.sum(dy, axis=1)[:, None]
    else:
        dx = y * (dy - tl.sum(dy * y, axis=1)[:, None])
    dx_at = row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)[:, None] + col
    tl.store(dx_ptr + dx_at, dx.to(dx_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _share_sum(dy_row, y_row, first, past, cols, LOG: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """Of the columns from `first` on: Σ dy · y, or Σ dy for the logarithm."""
    sums = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(first, past, BLOCK_COLS):
        col = start + tl.arange(0, BLOCK_COLS)
        mask = col < cols
        dy = tl.load(dy_row + col, mask=mask, other=0.0, eviction_policy="evict_last")
        dy = dy.to(tl.float32)
        if LOG:
            sums += dy
        else:
            y = tl.load(y_row + col, mask=mask, other=0.0, eviction_policy="evict_last")
            sums += dy * y.to(tl.float32)
    return tl.sum(sums, axis=0)


@triton.jit
def _arrived(counter_ptr, TEAM: tl.constexpr, POLLS: tl.constexpr):
    """How many of the team have written what all may read now; all of them, if they come in time."""
    tl.debug_barrier()
    tl.atomic_add(counter_ptr, 1, sem="release")
    here = tl.atomic_add(counter_ptr, 0, sem="acquire")
    polls = 1
    while (here < TEAM) & (polls < POLLS):
        here = tl.atomic_add(counter_ptr, 0, sem="acquire")
        polls += 1
    return here


@triton.jit
def backward_long(
    dy_ptr,
    y_ptr,
    dx_ptr,
    arrived_ptr,
    parts_ptr,
    cols,
    share,
    size1,
    size2,
    ds0,
    ds1,
    ds2,
    ys0,
    ys1,
    ys2,
    xs0,
    xs1,
    xs2,
    LEVELS: tl.constexpr,
    LOG: tl.constexpr,
    PRECISE: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    TEAM: tl.constexpr,
    POLLS: tl.constexpr,
):
    """Block by block, twice: the second time from the L2 cache. TEAM programs share a row.

    One a row would read it twice from memory where all rows under way together fill the cache. Each
    of a team leaves its sum in parts, and all add them up in one order, whoever came first. Nobody
    waits for ever: who has not begun when POLLS are over is done without, so no room on the GPU is
    taken for granted.
    """
    row = tl.program_id(0).to(tl.int64) // TEAM
    first = tl.program_id(0) % TEAM * share
    past = tl.minimum(first + share, cols)
    dy_row = dy_ptr + row_offset(row, size1, size2, ds0, ds1, ds2, LEVELS)
    y_row = y_ptr + row_offset(row, size1, size2, ys0, ys1, ys2, LEVELS)
    dx_row = dx_ptr + row_offset(row, size1, size2, xs0, xs1, xs2, LEVELS)
    total = _share_sum(dy_row, y_row, first, past, cols, LOG, BLOCK_COLS)
    if TEAM > 1:
        parts = parts_ptr + row * TEAM
        tl.store(parts + tl.program_id(0) % TEAM, total)
        if _arrived(arrived_ptr + row, TEAM, POLLS) < TEAM:
            for member in range(TEAM):  # the numbers that the others leave, or have left
                begin = member * share
                end = tl.minimum(begin + share, cols)
                part = _share_sum(dy_row, y_row, begin, end, cols, LOG, BLOCK_COLS)
                tl.store(parts + member, part)
            tl.debug_barrier()
        number = tl.arange(0, triton.next_power_of_2(TEAM))
        # volatile: past the first cache, which may hold what was there before
        found = tl.load(parts + number, mask=number < TEAM, other=0.0, volatile=True)
        total = tl.sum(found, axis=0)
    for start in range(first, past, BLOCK_COLS):
        col = start + tl.arange(0, BLOCK_COLS)
        mask = col < cols
        dy = tl.load(dy_row + col, mask=mask, other=0.0, eviction_policy="evict_first")
        y = tl.load(y_row + col, mask=mask, other=0.0, eviction_policy="evict_first")
        dy, y = dy.to(tl.float32), y.to(tl.float32)
        dx = dy - exp(y, PRECISE) * total if LOG else y * (dy - total)
        dx = dx.to(dx_ptr.dtype.element_ty)
        tl.store(dx_row + col, dx, mask=mask, eviction_policy="evict_first")
