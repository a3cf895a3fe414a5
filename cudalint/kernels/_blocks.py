"""Tiles of the row-wise kernels, and the tables that remember prepared launches."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from cudalint.kernels._launch import MOST_REMEMBERED

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
