"""The operators cudalint::gated_residual and its backward, and the way round them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._dispatch import is_transformed, must_dispatch, needs_gradient
from cudalint.kernels._library import define, differentiate, direct
from cudalint.kernels._norms.reference import Form, Operands, compute_dtype, gated_sum, natural_sum
from cudalint.kernels._norms.registration import backward_launches, kernel_takes, launches


def add(residual: Tensor, y: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    """residual + gate · y; `gate` has as many dimensions as y."""
    operands = Operands(y, residual, gate)
    if torch.compiler.is_compiling():
        return natural_sum(residual, y, gate, dtype)
    if not kernel_takes(operands) or dtype == torch.float64:
        return gated_sum(residual, y, gate, dtype)
    if is_transformed():
        return gated_sum(residual, y, gate, dtype)
    out: Tensor
    if must_dispatch(residual, y, gate):
        out = torch.ops.cudalint.gated_residual(residual, y, gate, dtype)
    elif needs_gradient(residual, y, gate):
        out = with_gradient(residual, y, gate, dtype)
    else:
        out = _launch(operands, dtype)
    return out


def _launch(operands: Operands, dtype: torch.dtype) -> Tensor:
    out: Tensor = launches().forward(operands, _form(dtype), norm=False)[1]
    return out


def run_forward(residual: Tensor, y: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    operands = Operands(y, residual, gate)
    if kernel_takes(operands) and dtype != torch.float64:
        return _launch(operands, dtype)
    return gated_sum(residual, y, gate, dtype).clone(memory_format=torch.contiguous_format)


def run_backward(
    dh: Tensor, y: Tensor, gate: Tensor, y_grad: bool, gate_grad: bool
) -> tuple[Tensor, Tensor]:
    """(dy, dgate), each empty where it is not asked for; the residual's gradient is `dh`."""
    operands = Operands(y, None, gate)
    if kernel_takes(operands) and dh.dtype != torch.float64:
        run = backward_launches()
        needs = run.Needs(False, y_grad, gate_grad, False, False, False, False)
        reading = run.Reading(None, dh, y, operands)
        found = run.backward(reading, _form(dh.dtype), dh.dtype, needs)
        return found[1], found[2]
    wide = compute_dtype(dh, y, gate)
    dh = dh.to(wide)
    dy, dgate = y.new_empty(0), y.new_empty(0)
    if y_grad:
        dy = y.new_empty(y.shape).copy_(dh * gate.to(wide))
    if gate_grad:
        dgate = gate.new_empty(gate.shape).copy_((dh * y.to(wide)).sum_to_size(gate.shape))
    return dy, dgate


@functools.cache
def _form(dtype: torch.dtype) -> Form:
    """Nothing is normalized: only the sum's dtype says something."""
    return Form(0.0, 0.0, 0.0, False, True, dtype, dtype, dtype)


class GatedResidual(torch.autograd.Function):
    """The way round the dispatcher, as `FusedNorm`."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, y: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
        _setup_context(ctx, (residual, y, gate, dtype), None)
        return _launch(Operands(y, residual, gate), dtype)

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dh)
        return _gradients(run_backward, ctx, dh)


with_gradient = direct(GatedResidual)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    residual, y, gate, _ = inputs
    ctx.residual_dtype = residual.dtype
    ctx.save_for_backward(y, gate)


def _gradients(run: Any, ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
    y, gate = ctx.saved_tensors
    need_residual, need_y, need_gate, _ = ctx.needs_input_grad
    dy = dgate = None
    if need_y or need_gate:
        dy, dgate = run(dh, y, gate, need_y, need_gate)
    return (
        dh.to(ctx.residual_dtype) if need_residual else None,
        dy if need_y else None,
        dgate if need_gate else None,
        None,
    )


def _registered_backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
    return _gradients(torch.ops.cudalint.gated_residual_backward, ctx, dh)


def _fake_forward(residual: Tensor, y: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    return y.new_empty(y.shape, dtype=dtype)


def _fake_backward(
    dh: Tensor, y: Tensor, gate: Tensor, y_grad: bool, gate_grad: bool
) -> tuple[Tensor, Tensor]:
    return (
        y.new_empty(y.shape if y_grad else 0),
        gate.new_empty(gate.shape) if gate_grad else y.new_empty(0),
    )


define(
    "gated_residual(Tensor residual, Tensor y, Tensor gate, ScalarType dtype) -> Tensor",
    run_forward,
    _fake_forward,
)
define(
    "gated_residual_backward(Tensor dh, Tensor y, Tensor gate, bool y_grad, bool gate_grad) "
    "-> (Tensor, Tensor)",
    run_backward,
    _fake_backward,
)
differentiate("gated_residual", _registered_backward, _setup_context)
