"""The operator cudalint::quantized_linear and its backward, which is that of x and of the bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._library import define, differentiate
from cudalint.kernels._quantized import reference
from cudalint.kernels._quantized.reference import Weight


def run_forward(x: Tensor, bias: Tensor | None, *weight: Any) -> Tensor:
    y = reference.linear(x, Weight(*weight), bias)
    return y.clone(memory_format=torch.contiguous_format)


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
