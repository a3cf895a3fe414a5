"""What a GPU runs for few rows of x: shares of the inputs, then their sum in a fixed order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cudalint.kernels._blocks import multiprocessors, next_power_of_two, remembered
from cudalint.kernels._launch import Launcher, Prepared
from cudalint.kernels._quantized import triton_kernels as kernels
from cudalint.kernels._quantized.reference import Weight, features
from cudalint.kernels._rows import dense_last

_int8 = Launcher(kernels.int8)
_gptq = Launcher(kernels.gptq)
_awq = Launcher(kernels.awq)
_add_shares = Launcher(kernels.add_shares)

_known: dict[tuple[object, ...], Plan] = {}

# The fewest blocks of inputs of a share.
FEWEST = 4
MOST_SPLITS = 16
# How much longer all takes where shares are not of one size, since every load has its mask then, and for
# each share that is added up, of up to 8 rows. With both, what a sweep on an H200 found quickest is
# chosen.
UNEVEN, ADDED = 1.3, 0.02
ADD_BLOCK = 256
# gptq's kernel reads x in words of so many bytes.
WORD = 8


class Tile(NamedTuple):
    """`cols` and `depth` in outputs and inputs; gptq's depth in int32 that hold eight inputs, awq's cols
    in int16 that hold four outputs."""

    rows: int
    cols: int
    depth: int
    warps: int
    stages: int


class Fill(NamedTuple):
    """Programs wanted on a multiprocessor, for enough bytes on their way, and as many as it holds."""

    wanted: int
    most: int


FILLS = {"int8": Fill(4, 8), "gptq": Fill(4, 8), "gptq_v2": Fill(4, 8), "awq": Fill(2, 4)}


class Plan(NamedTuple):
    """`second` is None where one program goes over all inputs."""

    first: Prepared
    second: Prepared | None
    parts: tuple[int, int, int]


def tile(layout: str, rows: int, group_size: int, groups: int, element_bytes: int) -> Tile:
    """Blocks of 8 KB of the weight, three of them on their way.

    Smaller ones for float32, which has three products for one, and for several groups in a block.
    """
    is_single = element_bytes == 4
    most = group_size & -group_size  # the largest power of two that divides it
    if layout == "int8":
        m = 32 if rows > 16 and not is_single else 16
        depth = 128 if groups == 1 else min(most, 128)
        return Tile(m, 32, min(depth, 64), 4, 3) if is_single else Tile(m, 64, depth, 4, 3)
    m = 8 if rows <= 8 and not is_single else 16
    if layout == "awq":
        return Tile(m, 64, min(most, 32 if is_single else 64 if m > 8 else 128), 4, 3)
    several = groups > 1 and group_size < 128
    # 4 warps would have Hopper's products of more than 8 rows, with x in shared memory, where its parts
    # are not
    warps = 4 if is_single or (several and m == 8) else 2
    return Tile(m, 16 * warps if several else 32 if is_single else 128, 16, warps, 3)


def steps(layout: str, blocks: Tile) -> tuple[int, int]:
    """(outputs, inputs) of a block."""
    cols = blocks.cols * 4 if layout == "awq" else blocks.cols
    return cols, blocks.depth * 8 if layout.startswith("gptq") else blocks.depth


def shares(
    blocks: int, rows: int, inputs: int, step: int, processors: int, fill: Fill
) -> tuple[int, int]:
    """(how many shares, inputs of each), by which the multiprocessors should be done first."""
    depth = -(-inputs // step)

    def takes(size: int) -> float:
        """A measure of the time with shares of `size` blocks of inputs."""
        splits = -(-depth // size)
        programs = blocks * splits
        on_each = -(-programs // processors)
        if on_each > fill.most:  # the last ones alone have too little on its way
            on_each = -(-on_each // fill.most) * fill.most
        empty = max(fill.wanted * processors / programs, 1.0)
        added = 1.0 + ADDED * splits * max(rows / 8, 1.0)
        return on_each * size * empty * added * (UNEVEN if depth % size else 1.0)

    most = max(min(depth // FEWEST, MOST_SPLITS), 1)
    size = min({-(-depth // splits) for splits in range(1, most + 1)}, key=takes)
    return -(-depth // size), size * step


def linear(x: Tensor, weight: Weight, bias: Tensor | None) -> Tensor:
    """The product (..., N) for few rows of `x`."""
    outputs, inputs = features(weight)
    y = torch.empty((*x.shape[:-1], outputs), dtype=x.dtype, device=x.device)
    x = dense_last(x.reshape(-1, inputs))
    if (x.data_ptr() | x.stride(0) * x.element_size()) % WORD and weight.layout != "int8":
        x = x.clone(memory_format=torch.contiguous_format)
    scales = weight.scales.contiguous()
    zeros = scales if weight.zeros is None else weight.zeros.contiguous()
    key = (
        x.shape, x.stride(), x.dtype, weight.qweight.shape, scales.shape, scales.dtype,
        weight.zeros is None, weight.group_size, weight.layout, None if bias is None else bias.dtype,
        x.get_device(),
    )  # fmt: skip
    biases = scales if bias is None else bias.contiguous()
    plan = _known.get(key)
    if plan is None:
        operands = (x, weight.qweight, scales, zeros, biases)
        plan = remembered(_known)[key] = _prepare(operands, weight, bias is not None, y)
    if plan.second is None:
        plan.first(x, weight.qweight, scales, zeros, biases, y)
        return y
    parts = torch.empty(plan.parts, dtype=torch.float32, device=x.device)
    plan.first(x, weight.qweight, scales, zeros, biases, parts)
    plan.second(parts, biases, y)
    return y


def _prepare(operands: tuple[Tensor, ...], weight: Weight, biased: bool, y: Tensor) -> Plan:
    x, layout = operands[0], weight.layout
    rows, (outputs, inputs) = x.shape[0], features(weight)
    groups = inputs // weight.group_size
    blocks = tile(layout, rows, weight.group_size, groups, x.element_size())
    row_blocks = -(-rows // blocks.rows)
    cols, step = steps(layout, blocks)
    column_blocks = -(-outputs // cols)
    processors = multiprocessors(x.get_device())
    splits, share = shares(
        column_blocks * row_blocks, rows, inputs, step, processors, FILLS[layout]
    )
    parts = torch.empty((0,), dtype=torch.float32, device=x.device)
    wide = x.get_device() < 0
    launcher = {"int8": _int8, "awq": _awq}.get(layout, _gptq)
    first = launcher.prepare(
        column_blocks * row_blocks * splits,
        (*operands, parts if splits > 1 else y),
        (rows, outputs, inputs, row_blocks, splits, share, x.stride(0), weight.group_size, groups),
        (
            *switches(weight, groups, step), biased and splits == 1,
            outputs % cols == inputs % share == 0, wide, blocks.stages, *blocks[:3],
        ),
        blocks.warps,
    )  # fmt: skip
    if splits == 1:
        return Plan(first, None, (0, 0, 0))
    second = _add_shares.prepare(
        -(-rows * outputs // ADD_BLOCK),
        (parts, operands[4], y),
        (rows * outputs, outputs, splits),
        (biased, next_power_of_two(splits), ADD_BLOCK),
        4,
    )
    return Plan(first, second, (splits, rows, outputs))


def switches(weight: Weight, groups: int, step: int) -> tuple[object, ...]:
    """The constants of a layout: how groups and blocks of inputs lie, and of zeros."""
    if weight.layout == "int8":
        return (groups > 1,)
    if weight.layout == "awq":
        return (weight.zeros is not None,)
    per_block = 1 if groups == 1 else max(step // weight.group_size, 1)
    return per_block, weight.zeros is not None, 1.0 if weight.layout == "gptq" else 0.0
