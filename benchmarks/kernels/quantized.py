"""Linear layers with integer weights, beside the product with the bfloat16 weight and torch's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels.case import Bar, Case, Function, calls
from cudalint.kernels import int4_linear, int8_linear

DEVICE = "cuda"
GROUP = 128

CACHE = 50e6  # bytes of an H200's L2
# (outputs, inputs), rows of x
SHAPES = ((8192, 8192), (4096, 14336), (28672, 8192), (4096, 4096))
ROWS = (1, 8, 64)
# How much faster than the product with the bfloat16 weight, of over 64 MB, for up to 8 rows.
WANTED = {"int8": 1.3, "gptq": 2.0, "awq": 2.0}


def quantized_linears() -> Iterator[Case]:
    for outputs, inputs in SHAPES:
        turns = max(
            math.ceil(4 * CACHE / (outputs * inputs / 2)), 2
        )  # of the smallest weight, int4
        wide = torch.randn(outputs, inputs, device=DEVICE, dtype=torch.bfloat16)
        bf16 = _in_turn(F.linear, (wide,), turns)
        for layout in WANTED:
            weight, ours = _ours(layout, outputs, inputs)
            functions = {"bf16": bf16} | _torchs(layout, outputs, inputs, turns)
            functions["ours"] = _in_turn(ours, weight, turns)
            packed = sum(t.nbytes for t in weight)
            for rows in ROWS:
                x = torch.randn(rows, inputs, device=DEVICE, dtype=torch.bfloat16)
                bar = None
                if rows <= 8 and wide.nbytes >= 64e6:
                    bar = Bar("bf16", WANTED[layout])
                name = "int8_linear" if layout == "int8" else "int4_linear"
                shape = f"{rows}×{inputs}, {outputs} outputs"
                shape += "" if layout == "int8" else f", {layout}"
                work = packed + x.nbytes + 2 * rows * outputs
                made = calls(functions, (x,), False)
                yield Case(name, shape, "forward", work, made, bar=bar, turns=turns)


def _in_turn(function: Function, weight: tuple[Tensor, ...], turns: int) -> Function:
    """Calls `function` of x on one copy of `weight` after the other."""
    copies = [weight, *[tuple(t.clone() for t in weight) for _ in range(turns - 1)]]
    return lambda x: [function(x, *copy) for copy in copies]


def _ours(layout: str, outputs: int, inputs: int) -> tuple[tuple[Tensor, ...], Function]:
    """A weight of any numbers, and the function of x and it."""
    scales = torch.rand(inputs // GROUP, outputs, device=DEVICE).bfloat16() / 64
    if layout == "int8":
        return (_bytes(outputs, inputs), scales[0].clone()), int8_linear
    packed = _integers(*((inputs, outputs // 8) if layout == "awq" else (inputs // 8, outputs)))
    zeros = _integers(inputs // GROUP, outputs // 8)
    options: dict[str, Any] = {"group_size": GROUP, "layout": layout}
    return (packed, scales, zeros), partial(int4_linear, **options)


def _torchs(layout: str, outputs: int, inputs: int, turns: int) -> dict[str, Function]:
    """torch's own for weights of the same size, in its own layout; it has no public name yet."""
    if layout == "int8":
        weight = _bytes(outputs, inputs), torch.rand(outputs, device=DEVICE).bfloat16() / 64
        return {"torch": _in_turn(torch._weight_int8pack_mm, weight, turns)}
    try:
        halves = torch.randint(0, 256, (outputs, inputs // 2), device=DEVICE, dtype=torch.uint8)
        packed = torch._convert_weight_to_int4pack(halves, 8)
    except RuntimeError:
        return {}
    both = torch.rand(inputs // GROUP, outputs, 2, device=DEVICE).bfloat16() / 64
    return {"torch": _in_turn(_int4_of_torch, (packed, both), turns)}


def _int4_of_torch(x: Tensor, packed: Tensor, both: Tensor) -> Tensor:
    return torch._weight_int4pack_mm(x, packed, GROUP, both)


def _bytes(*shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, device=DEVICE, dtype=torch.int8)


def _integers(*shape: int) -> Tensor:
    return torch.randint(-(2**31), 2**31, shape, device=DEVICE).int()
