"""Linear layers with integer weights, beside the product with the bfloat16 weight and torch's own."""

from __future__ import annotations

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

# (outputs, inputs), rows of x
SHAPES = ((8192, 8192), (4096, 14336), (28672, 8192), (4096, 4096))
ROWS = (1, 8, 64)
# How much faster than the product with the bfloat16 weight, of over 64 MB, for up to 8 rows.
WANTED = {"int8": 1.3, "gptq": 2.0, "awq": 2.0}


def quantized_linears() -> Iterator[Case]:
    for outputs, inputs in SHAPES:
        wide = torch.randn(outputs, inputs, device=DEVICE, dtype=torch.bfloat16)
        for layout, (ours, packed) in _ours(outputs, inputs).items():
            functions: dict[str, Function] = {"bf16": partial(F.linear, weight=wide)}
            functions |= _torchs(layout, outputs, inputs) | {"ours": ours}
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
                yield Case(name, shape, "forward", work, made, bar=bar)


def _ours(outputs: int, inputs: int) -> dict[str, tuple[Function, int]]:
    """By layout: the function of x, and the bytes of its weight. The numbers are any."""
    scales = torch.rand(inputs // GROUP, outputs, device=DEVICE).bfloat16() / 64
    zeros = _integers(inputs // GROUP, outputs // 8)
    qweight = torch.randint(-127, 128, (outputs, inputs), device=DEVICE, dtype=torch.int8)
    made = {"int8": (partial(int8_linear, qweight=qweight, scales=scales[0]), qweight.nbytes)}
    for layout, shape in (
        ("gptq", (inputs // 8, outputs)), ("awq", (inputs, outputs // 8))
    ):  # fmt: skip
        packed = _integers(*shape)
        options: dict[str, Any] = {"zeros": zeros, "group_size": GROUP, "layout": layout}
        run = partial(int4_linear, qweight=packed, scales=scales, **options)
        made[layout] = run, packed.nbytes + scales.nbytes + zeros.nbytes
    return made


def _torchs(layout: str, outputs: int, inputs: int) -> dict[str, Function]:
    """torch's own for weights of the same size, in its own layout; it has no public name yet."""
    if layout == "int8":
        weight = torch.randint(-127, 128, (outputs, inputs), device=DEVICE, dtype=torch.int8)
        scale = torch.rand(outputs, device=DEVICE).bfloat16() / 64
        return {"torch": lambda x: torch._weight_int8pack_mm(x, weight, scale)}
    try:
        halves = torch.randint(0, 256, (outputs, inputs // 2), device=DEVICE, dtype=torch.uint8)
        packed = torch._convert_weight_to_int4pack(halves, 8)
    except RuntimeError:
        return {}
    both = torch.rand(inputs // GROUP, outputs, 2, device=DEVICE).bfloat16() / 64
    return {"torch": lambda x: torch._weight_int4pack_mm(x, packed, GROUP, both)}


def _integers(*shape: int) -> Tensor:
    return torch.randint(-(2**31), 2**31, shape, device=DEVICE).int()
