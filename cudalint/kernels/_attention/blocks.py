"""The tiles of the attention kernels, by architecture, kernel, width and what the scores take."""

from __future__ import annotations

from typing import NamedTuple

from cudalint.kernels._blocks import next_power_of_two
from cudalint.kernels._launch import properties

# tl.dot takes no less.
LEAST = 16
WIDEST = 256
# Up to here one program makes dk and dv; one sum of a wider head fills the registers.
WIDEST_OF_BOTH = 128


class Blocks(NamedTuple):
    """Queries and keys of a tile, the warps of a program, and how many loads are under way."""

    i: int
    j: int
    warps: int
    stages: int


# By the width, rounded up to a power of two.
Table = dict[int, Blocks]

# Hopper and datacentre Blackwell: 228 KB of shared memory, products of whole warp groups.
_LARGE: dict[str, Table] = {
    "forward": {64: Blocks(64, 64, 4, 3), 128: Blocks(64, 64, 4, 3), 256: Blocks(128, 64, 8, 2)},
    "keys": {64: Blocks(64, 64, 4, 3), 128: Blocks(32, 64, 4, 2), 256: Blocks(32, 128, 8, 2)},
    "values": {256: Blocks(64, 128, 8, 2)},
    "queries": {64: Blocks(64, 64, 4, 3), 128: Blocks(64, 64, 4, 2), 256: Blocks(64, 32, 8, 2)},
    "bias": {64: Blocks(64, 64, 4, 2), 128: Blocks(64, 64, 4, 2), 256: Blocks(64, 32, 4, 1)},
}
# The same beside tiles of a bias or a mask.
_LARGE_SCORED: dict[str, Table] = {
    "forward": {64: Blocks(64, 64, 4, 3), 128: Blocks(64, 32, 4, 3), 256: Blocks(128, 32, 8, 2)},
    "keys": {64: Blocks(32, 64, 4, 2), 128: Blocks(32, 64, 8, 2), 256: Blocks(16, 128, 8, 2)},
    "values": {256: Blocks(32, 64, 8, 2)},
    "queries": {64: Blocks(64, 64, 4, 2), 128: Blocks(64, 32, 4, 2), 256: Blocks(32, 32, 4, 2)},
    "bias": {64: Blocks(64, 32, 4, 2), 128: Blocks(64, 32, 4, 2), 256: Blocks(64, 32, 4, 2)},
}
# Ampere, Ada, and Blackwell with 100 KB.
_SMALL: dict[str, Table] = {
    "forward": {64: Blocks(64, 32, 4, 2), 128: Blocks(64, 32, 4, 2), 256: Blocks(64, 32, 8, 2)},
    "keys": {64: Blocks(32, 32, 4, 2), 128: Blocks(32, 32, 4, 2), 256: Blocks(32, 32, 8, 1)},
    "values": {256: Blocks(32, 32, 4, 2)},
    "queries": {64: Blocks(64, 32, 4, 2), 128: Blocks(32, 32, 4, 2), 256: Blocks(32, 32, 8, 1)},
    "bias": {64: Blocks(32, 32, 4, 2), 128: Blocks(32, 32, 8, 2), 256: Blocks(32, 32, 8, 2)},
}
# float32 takes registers and shared memory twice; from 128 on it spills all the same.
_SINGLE: Table = {64: Blocks(32, 32, 8, 1), 128: Blocks(32, 32, 8, 1), 256: Blocks(16, 16, 4, 1)}
# Many tiles of tiny inputs.
_INTERPRETED = Blocks(16, 16, 4, 1)


def blocks(
    device: int, kernel: str, widest: int, element_bytes: int, queries: int, scored: bool
) -> Blocks:
    """For tiles `widest` wide on `device`; below 0, the interpreter."""
    if device < 0:
        return _INTERPRETED
    major = properties(device).major
    return blocks_of(major, kernel, widest, element_bytes, queries, scored)


def blocks_of(
    major: int, kernel: str, widest: int, element_bytes: int, queries: int, scored: bool
) -> Blocks:
    """`blocks`, on an architecture of which only the major number is known.

    `scored`: tiles of a bias or mask come beside those of keys and values.
    """
    width = max(next_power_of_two(widest), 64)
    if element_bytes == 4:
        found = _SINGLE[width]
    elif major in (9, 10):  # what Hopper has no spills with may spill on Blackwell
        found = (_LARGE_SCORED if scored or major == 10 else _LARGE)[kernel][width]
    else:
        found = _SMALL[kernel][width]
    most = max(next_power_of_two(queries), LEAST)
    return found if found.i <= most else found._replace(i=most)
