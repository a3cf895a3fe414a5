"""Launches in which several programs share a row, and the memory that they meet in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cudalint.kernels._blocks import Blocks
from cudalint.kernels._launch import Launcher, Number, Prepared

Launch = Callable[..., None]

# Up to here one program a row is faster: what is under way then stays in the L2 cache.
LONGEST_ALONE = 32768
# Columns of a row that one program takes, and programs a row at most.
SHARE, MOST_MEMBERS = 16384, 8

# How often a program looks whether the others are there before it does without them. Each look goes to
# the L2 cache and back, so all of them are milliseconds, not measured; a row takes microseconds.
POLLS = 10_000


def team_of(cols: int, block: int) -> tuple[int, int]:
    """(programs a row, columns of each, whole blocks but for the last one's)."""
    members = 1 if cols <= LONGEST_ALONE else min(-(-cols // SHARE), MOST_MEMBERS)
    share = -(-cols // (members * block)) * block
    return -(-cols // share), share


class Meeting:
    """A launch by teams. The counters are zeroed before each, on its stream and in its graph."""

    __slots__ = ("_launch", "_members", "_rows")

    def __init__(self, launch: Prepared, rows: int, members: int) -> None:
        self._launch, self._rows, self._members = launch, rows, members

    def __call__(self, *tensors: Tensor) -> None:
        device = tensors[0].device
        arrived = torch.zeros(self._rows, dtype=torch.int32, device=device)
        parts = torch.empty(self._rows * self._members, dtype=torch.float32, device=device)
        self._launch(*tensors, arrived, parts)


def by_teams(
    launcher: Launcher,
    tensors: tuple[Tensor, ...],
    rows: int,
    cols: int,
    blocks: Blocks,
    numbers: tuple[Number, ...],
    constants: tuple[object, ...],
) -> Launch:
    """A launch of a kernel that takes, after `tensors`, the counters and the parts of a team.

    Its numbers are columns, a member's columns, then `numbers`; its constants `constants`, then
    TEAM and POLLS.
    """
    members, share = team_of(cols, blocks.cols)
    device = tensors[0].device
    polls = 1 if tensors[0].get_device() < 0 else POLLS  # the interpreter: one after the other
    meets = [torch.empty((0,), dtype=t, device=device) for t in (torch.int32, torch.float32)]
    launch = launcher.prepare(
        rows * members,
        (*tensors, *meets),
        (cols, share, *numbers),
        (*constants, members, polls),
        blocks.warps,
    )
    return _alone(launch) if members == 1 else Meeting(launch, rows, members)


def _alone(launch: Prepared) -> Launch:
    """Nobody to wait for: what is not read stands in for what a team meets in."""
    return lambda *tensors: launch(*tensors, tensors[0], tensors[0])
