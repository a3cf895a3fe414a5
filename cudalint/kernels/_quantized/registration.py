"""The operator cudalint::quantized_linear and its backward, which is that of x and of the bias."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._dispatch import HALF_OR_SINGLE, kernel_runs
from cudalint.kernels._launch import properties
from cudalint.kernels._library import define, differentiate
from cudalint.kernels._quantized import reference
from cudalint.kernels._quantized.reference import Weight

# Rows of x that a program holds; for more, the weight is expanded and torch multiplies.
MOST_ROWS = 64


@functools.cache
def _launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._quantized import launches

    return launches


def kernel_takes(x: Tensor, bias: Tensor | None, weight: Weight) -> bool:
    """Whether the kernel has the case, on a GPU that `is_new_enough`, which cannot be traced."""
    if not kernel_runs(x):
        return False
    if weight.group_index is not None or not weight.qweight.is_contiguous():
        return False
    if any([t.dtype not in HALF_OR_SINGLE for t in (weight.scales, bias) if t is not None]):
        return False
    outputs, inputs = reference.features(weight)
    if not outputs or not inputs or not 0 < x.numel() <= MOST_ROWS * inputs:
        return False
    size = weight.group_size
    if weight.layout == "awq" or size < inputs:
        return size % (128 if size > 64 and weight.layout.startswith("gptq") else 32) == 0
    return True


def is_new_enough(x: Tensor) -> bool:
    """Before Ampere, no tensor core multiplies bfloat16."""
    return properties(x.get_device()).major >= 8


def run_forward(x: Tensor, bias: Tensor | None, *weight: Any) -> Tensor:
    if kernel_takes(x, bias, Weight(*weight)) and is_new_enough(x):
        return run_kernel(x, bias, *weight)
    y = reference.linear(x, Weight(*weight), bias)
    return y.clone(memory_format=torch.contiguous_format)


def run_kernel(x: Tensor, bias: Tensor | None, *weight: Any) -> Tensor:
    y: Tensor = _launches().linear(x, Weight(*weight), bias)
    return y


def run_backward(dy: Tensor, *weight: Any) -> Tensor:
    dx = reference.linear_backward(dy, Weight(*weight))
    return dx.clone(memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, bias, *weight = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.numbers = weight[4:]
    ctx.save_for_backward(*weight[:4])


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx = dbias = None
    if ctx.needs_input_grad[0]:
        dx = torch.ops.cudalint.quantized_linear_backward(dy, *ctx.saved_tensors, *ctx.numbers)
    if ctx.needs_input_grad[1]:
        wide = torch.promote_types(dy.dtype, torch.float32)
        dbias = dy.reshape(-1, dy.shape[-1]).sum(0, dtype=wide).to(ctx.bias_dtype)
    return dx, dbias, None, None, None, None, None, None


def _fake_forward(x: Tensor, bias: Tensor | None, *weight: Any) -> Tensor:
    return x.new_empty((*x.shape[:-1], reference.features(Weight(*weight))[0]))


def _fake_backward(dy: Tensor, *weight: Any) -> Tensor:
    return dy.new_empty((*dy.shape[:-1], reference.features(Weight(*weight))[1]))


_WEIGHT = (
    "Tensor qweight, Tensor scales, Tensor? zeros, Tensor? group_index, int group_size, str layout"
)
define(f"quantized_linear(Tensor x, Tensor? bias, {_WEIGHT}) -> Tensor", run_forward, _fake_forward)
define(f"quantized_linear_backward(Tensor dy, {_WEIGHT}) -> Tensor", run_backward, _fake_backward)
differentiate("quantized_linear", _backward, _setup_context)
