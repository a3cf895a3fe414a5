"""The operators cudalint::rms_norm and cudalint::rms_norm_backward, and the way round them.

Both ways share `run_forward` and `run_backward`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cudalint.kernels._dispatch import kernel_runs
from cudalint.kernels._library import define, differentiate, direct
from cudalint.kernels._rms_norm import reference
from cudalint.kernels._rms_norm.reference import Form


@functools.cache
def launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._rms_norm import launches

    return launches


def run_forward(
    x: Tensor, weight: Tensor | None, eps: float, late: bool, weight_offset: float
) -> Tensor:
    if not kernel_runs(x) or (weight is not None and weight.dtype == torch.float64):
        return reference.rms_norm(x, weight, eps, late, weight_offset)
    y: Tensor = launches().forward(x, weight, Form(eps, late, weight_offset))
    return y


def run_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    late: bool,
    weight_offset: float,
    x_grad: bool,
    weight_grad: bool,
) -> tuple[Tensor, Tensor]:
    if kernel_runs(x) and (weight is None or weight.dtype != torch.float64):
        form = Form(eps, late, weight_offset)
        dx, dweight = launches().backward(dy, x, weight, form, x_grad, weight_grad)
        return dx, dweight
    dx, dweight = reference.rms_norm_backward(dy, x, weight, eps, late, weight_offset)
    return dx if x_grad else x.new_empty(0), dweight if weight_grad else x.new_empty(0)


class RMSNorm(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    `forward` takes the context: a `setup_context` costs 30 µs a call in binding arguments. Where
    the gradient is to be differentiated again, the operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, form: Form) -> Tensor:
        ctx.numbers = form
        ctx.save_for_backward(x, weight)
        y: Tensor = launches().forward(x, weight, form)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dy)[:3]
        x, weight = ctx.saved_tensors
        x_grad, weight_grad, _ = ctx.needs_input_grad
        dx, dweight = launches().backward(dy, x, weight, ctx.numbers, x_grad, weight_grad)
        return dx if x_grad else None, dweight if weight_grad else None, None


with_gradient = direct(RMSNorm)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.numbers = inputs[2:]
    ctx.save_for_backward(*inputs[:2])


def _gradients(run: Any, ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    x_grad, weight_grad, *_ = ctx.needs_input_grad
    dx, dweight = run(dy, x, weight, *ctx.numbers, x_grad, weight_grad)
    return dx if x_grad else None, dweight if weight_grad else None, None, None, None


class TransformedRMSNorm(torch.autograd.Function):
    """Under torch.func, whose grad takes neither the operator's derivative nor the class above."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        y: Tensor = torch.ops.cudalint.rms_norm(*inputs)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _setup_context(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _registered_backward(ctx, dy)


def _registered_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _gradients(torch.ops.cudalint.rms_norm_backward, ctx, dy)


def _fake_forward(
    x: Tensor, weight: Tensor | None, eps: float, late: bool, weight_offset: float
) -> Tensor:
    return torch.empty_like(x, dtype=reference.result_dtype(x, weight, late))


def _fake_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    late: bool,
    weight_offset: float,
    x_grad: bool,
    weight_grad: bool,
) -> tuple[Tensor, Tensor]:
    dx = torch.empty_like(x) if x_grad else x.new_empty(0)
    if weight is None or not weight_grad:
        return dx, x.new_empty(0)
    return dx, weight.new_empty(weight.shape)


define(
    "rms_norm(Tensor x, Tensor? weight, float eps, bool late, float weight_offset) -> Tensor",
    run_forward,
    _fake_forward,
)
define(
    "rms_norm_backward(Tensor dy, Tensor x, Tensor? weight, float eps, bool late, "
    "float weight_offset, bool x_grad, bool weight_grad) -> (Tensor, Tensor)",
    run_backward,
    _fake_backward,
)
differentiate("rms_norm", _registered_backward, _setup_context)
