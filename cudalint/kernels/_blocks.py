"""Tiles of the row-wise kernels, and the tables that remember prepared launches."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from cudalint.kernels._launch import MOST_REMEMBERED, properties

Key = TypeVar("Key")
Value = TypeVar("Value")


class Blocks(NamedTuple):
    """A kernel's tile; `whole` where it holds whole rows."""

    whole: bool
    rows: int
    cols: int
    warps: int


def next_power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


# Rows are 64-bit numbers: with more of them in a tile, their addresses alone fill the registers.
MOST_ROWS = 256


def narrow(width: int, elements: int, warps: int) -> Blocks:
    """A tile of about `elements` elements out of whole rows of `width`, a power of two."""
    return Blocks(True, min(max(elements // width, 1), MOST_ROWS), width, warps)


def remembered(table: dict[Key, Value]) -> dict[Key, Value]:
    """`table`, emptied first where it has grown too large."""
    if len(table) >= MOST_REMEMBERED:
        table.clear()
    return table


# What a block may have on the smallest of today's GPUs, in bytes.
SMALLEST_SHARED = 101_376


def multiprocessors(device: int) -> int:
    """2 in the interpreter."""
    return 2 if device < 0 else properties(device).multi_processor_count


def programs_at_once(device: int, warps: int) -> int:
    """As many programs as run at once; 2 in the interpreter."""
    return 2 if device < 0 else multiprocessors(device) * max(16 // warps, 1)


def shared_memory(device: int) -> int:
    """What a block may have, in bytes."""
    if device < 0:
        return SMALLEST_SHARED
    return getattr(properties(device), "shared_memory_per_block_optin", SMALLEST_SHARED)


def tiles_fit(tiles: int, blocks: Blocks, element_bytes: int, room: int) -> bool:
    """Whether so many tiles, and what the sums over a tile exchange, fit into `room` bytes."""
    tile = blocks.rows * blocks.cols * element_bytes
    return tiles * tile + 1024 * blocks.warps <= room
