"""New keys and values to where they belong, in Triton. Imported by the first launch on a GPU.

Bytes: reads and writes the new keys and values once.
"""
# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _copy(
    from_at, to_at, from_step, to_step, is_there,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK_HEADS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """One token's numbers, BLOCK_HEADS heads at a time."""
    col = tl.arange(0, BLOCK_WIDTH)[None, :]
    for first in tl.static_range(0, HEADS, BLOCK_HEADS):
        head = first + tl.arange(0, BLOCK_HEADS)[:, None]
        mask = (head < HEADS) & (col < WIDTH) & is_there
        head = head.to(tl.int64)
        numbers = tl.load(from_at + head * from_step + col, mask=mask)
        tl.store(to_at + head * to_step + col, numbers, mask=mask)


# With debug, which makes the assertion real: a full cache is an error, as it is for torch's indexing.
@triton.jit(debug=True)
def append(
    k_ptr,
    v_ptr,
    k_cache_ptr,
    v_cache_ptr,
    table_ptr,
    lengths_ptr,
    tokens,
    capacity,
    table_step,
    k_row_step,
    k_head_step,
    k_token_step,
    v_row_step,
    v_head_step,
    v_token_step,
    k_outer_step,
    k_cache_head_step,
    k_place_step,
    v_outer_step,
    v_cache_head_step,
    v_place_step,
    PAGE: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
):
    """Token `number % tokens` of row `number // tokens`. PAGE is 0 for a whole cache."""
    number = tl.program_id(0)
    row = (number // tokens).to(tl.int64)
    token = (number % tokens).to(tl.int64)
    place = tl.load(lengths_ptr + row).to(tl.int64) + token
    is_there = (place >= 0) & (place < capacity)
    tl.device_assert(is_there, "append: more tokens than the cache has room for")
    outer, slot = row, place
    if PAGE > 0:
        outer = tl.load(table_ptr + row * table_step + place // PAGE, mask=is_there, other=0)
        outer, slot = outer.to(tl.int64), place % PAGE
    _copy(
        k_ptr + row * k_row_step + token * k_token_step,
        k_cache_ptr + outer * k_outer_step + slot * k_place_step,
        k_head_step, k_cache_head_step, is_there, HEADS, WIDTH, BLOCK_HEADS, BLOCK_WIDTH,
    )  # fmt: skip
    _copy(
        v_ptr + row * v_row_step + token * v_token_step,
        v_cache_ptr + outer * v_outer_step + slot * v_place_step,
        v_head_step, v_cache_head_step, is_there, HEADS, VALUE_WIDTH, BLOCK_HEADS, BLOCK_VALUE_WIDTH,
    )  # fmt: skip


@triton.jit(debug=True)
def take_pages(
    lengths_ptr,
    owned_ptr,
    taken_ptr,
    free_ptr,
    table_ptr,
    rows,
    tokens,
    most_new,
    pages,
    most_pages,
    table_step,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gives each row the pages that it needs for `tokens` more, in the order of the rows.

    One program of one warp: what it reads is read before it writes there.
    """
    row = tl.arange(0, BLOCK)
    is_row = row < rows
    length = tl.load(lengths_ptr + row, mask=is_row, other=0).to(tl.int64)
    owned = tl.load(owned_ptr + row, mask=is_row, other=0)
    taken = tl.load(taken_ptr)
    new = tl.maximum((length + tokens + PAGE - 1) // PAGE - owned, 0)
    new = tl.where(is_row, new, 0)
    first = taken + tl.cumsum(new, 0) - new
    total = tl.sum(new, 0)
    tl.device_assert(taken + total <= pages, "append: more tokens than the pool has pages for")
    tl.device_assert(owned + new <= most_pages, "append: more tokens than a row may have pages for")
    table_at = table_ptr + row.to(tl.int64) * table_step
    for nth in range(most_new):
        mask = (nth < new) & (first + nth < pages) & (owned + nth < most_pages)
        page = tl.load(free_ptr + first + nth, mask=mask, other=0)
        tl.store(table_at + owned + nth, page, mask=mask)
    tl.store(owned_ptr + row, owned + new, mask=is_row)
    tl.store(taken_ptr, taken + total)
