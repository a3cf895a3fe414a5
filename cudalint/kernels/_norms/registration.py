"""The operators cudalint::fused_norm and cudalint::fused_norm_backward, and the way round them.

One pair holds every norm of this folder; what a function does not have is None. Gate, scale and
shift come with as many dimensions as x. Results are contiguous. Both ways share `run_forward` and
`run_backward`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._dispatch import kernel_runs
from cudalint.kernels._library import define, differentiate, direct
from cudalint.kernels._norms import reference
from cudalint.kernels._norms.reference import Form, Operands

TENSORS = len(Operands._fields)


# Rows are held whole; longer ones would not fit into a block's registers, nor would from LONG_ROWS
# on the gradients of scale and shift with weight and bias beside them.
MOST_COLUMNS, LONG_ROWS = 8192, 4096


@functools.cache
def launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._norms import launches

    return launches


@functools.cache
def backward_launches() -> Any:
    from cudalint.kernels._norms import backward_launches

    return backward_launches


def kernel_takes(operands: Operands) -> bool:
    x, residual = operands.x, operands.residual
    if not kernel_runs(x) or x.shape[-1] > MOST_COLUMNS:
        return False
    if residual is not None and residual.shape != x.shape:
        return False
    affine = operands.weight is not None or operands.bias is not None
    if affine and operands.scale is not None and x.shape[-1] > LONG_ROWS:
        return False
    return all([t is None or t.dtype != torch.float64 for t in operands[1:]])


def run_forward(*inputs: Any) -> tuple[Tensor, Tensor]:
    """(y, h); h is empty where there is no residual."""
    operands, form = Operands(*inputs[:TENSORS]), Form(*inputs[TENSORS:])
    if kernel_takes(operands) and torch.float64 not in form[-3:]:
        y, h = launches().forward(operands, form)
    else:
        y, h = (_contiguous_copy(t) for t in reference.fused_norm(operands, form))
    return y, operands.x.new_empty(0) if operands.residual is None else h


def _contiguous_copy(result: Tensor) -> Tensor:
    return result.clone(memory_format=torch.contiguous_format)


def run_backward(
    dy: Tensor,
    dh: Tensor | None,
    h: Tensor,
    x: Tensor,
    gate: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    h_dtype: torch.dtype,
    needs: list[bool],
    *form: Any,
) -> tuple[Tensor, ...]:
    """The gradients of `reference.Gradients` that `needs` names, the others empty."""
    operands = Operands(x, None, gate, weight, bias, scale, shift)
    if kernel_takes(operands) and torch.float64 not in (h.dtype, h_dtype, *form[-3:]):
        run = backward_launches()
        reading = run.Reading(dy, dh, h, operands)
        found = run.backward(reading, Form(*form), h_dtype, run.Needs(*needs))
        return tuple([x.new_empty(0) if t is None else t for t in found])
    gradients = reference.fused_norm_backward(dy, dh, h, operands, Form(*form))
    shapes = _gradient_shapes(h, operands, h_dtype)
    return tuple(
        x.new_empty(like[0], dtype=like[1]).copy_(gradient.sum_to_size(like[0]))
        if need and like
        else x.new_empty(0)
        for gradient, like, need in zip(gradients, shapes, needs, strict=True)
    )


def _gradient_shapes(
    h: Tensor, o: Operands, h_dtype: torch.dtype
) -> list[tuple[torch.Size, torch.dtype] | None]:
    others = (o.x, o.gate, o.weight, o.bias, o.scale, o.shift)
    return [(h.shape, h_dtype), *(None if t is None else (t.shape, t.dtype) for t in others)]


class FusedNorm(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed and the kernel takes the case.

    Of (y, h) h is None where there is no residual. `forward` takes the context: a `setup_context`
    costs 30 µs a call in binding arguments. Where the gradient is to be differentiated again, the
    operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor | None]:
        operands, form = Operands(*inputs[:TENSORS]), inputs[TENSORS]
        y, h = launches().forward(operands, form)
        _keep(ctx, operands, form, h)
        return y, None if operands.residual is None else h

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            return (*gradients(torch.ops.cudalint.fused_norm_backward, ctx, dy, dh), None)
        return (*gradients(_launch_backward, ctx, dy, dh), None)


with_gradient = direct(FusedNorm)


def _launch_backward(
    dy: Tensor, dh: Tensor | None, h: Tensor, x: Tensor, *others: Any
) -> list[Tensor]:
    run = backward_launches()
    gate, weight, bias, scale, shift, h_dtype, needs, *form = others
    operands = Operands(x, None, gate, weight, bias, scale, shift)
    found: list[Tensor] = run.backward(
        run.Reading(dy, dh, h, operands), Form(*form), h_dtype, run.Needs(*needs)
    )
    return found


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    operands = Operands(*inputs[:TENSORS])
    h = operands.x if operands.residual is None else output[1]
    _keep(ctx, operands, inputs[TENSORS:], h)
    if operands.residual is None:
        ctx.mark_non_differentiable(output[1])


def _keep(ctx: Any, operands: Operands, form: tuple[Any, ...], h: Tensor) -> None:
    ctx.form = form
    ctx.set_materialize_grads(False)
    x, residual, gate = operands[:3]
    ctx.has_residual = residual is not None
    ctx.x_dtype = ctx.residual_dtype = x.dtype
    if residual is not None:
        ctx.residual_dtype = residual.dtype
        if not any(ctx.needs_input_grad[:3]):
            ctx.mark_non_differentiable(h)
    # without a gate the gradients need the sum, not what was added to it
    ctx.save_for_backward(h, h if gate is None else x, *operands[2:])


def gradients(run: Any, ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Any, ...]:
    """One gradient, or None, for each operand."""
    h, x, gate, *others = ctx.saved_tensors
    if dy is None:
        if dh is None:
            return (None,) * TENSORS
        dy = h.new_zeros(h.shape, dtype=ctx.form[-1])
    need_x, need_residual, *need_others = ctx.needs_input_grad[:TENSORS]
    # without a gate x has the sum's gradient, in another dtype at most
    needs = [need_residual or (need_x and gate is None), need_x and gate is not None, *need_others]
    h_dtype = ctx.residual_dtype
    if gate is None and h_dtype != ctx.x_dtype:
        h_dtype = torch.promote_types(ctx.x_dtype, h_dtype)
    dh = dh if ctx.has_residual else None
    found = run(dy, dh, h, x, gate, *others, h_dtype, needs, *ctx.form)
    dx = dresidual = None
    if need_x:
        dx = found[0] if gate is None else found[1]
        dx = dx if dx.dtype == ctx.x_dtype else dx.to(ctx.x_dtype)
    if need_residual:
        dresidual = found[0]
        if dresidual.dtype != ctx.residual_dtype:
            dresidual = dresidual.to(ctx.residual_dtype)
    rest = [g if need else None for g, need in zip(found[2:], need_others, strict=True)]
    return dx, dresidual, *rest


def _registered_backward(ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Any, ...]:
    found = gradients(torch.ops.cudalint.fused_norm_backward, ctx, dy, dh)
    return (*found, *(None,) * len(Form._fields))


def _fake_forward(*inputs: Any) -> tuple[Tensor, Tensor]:
    operands, form = Operands(*inputs[:TENSORS]), Form(*inputs[TENSORS:])
    x = operands.x
    y = x.new_empty(x.shape, dtype=form.dtype)
    if operands.residual is None:
        return y, x.new_empty(0)
    return y, x.new_empty(x.shape, dtype=form.sum_dtype)


def _fake_backward(
    dy: Tensor, dh: Tensor | None, h: Tensor, x: Tensor, *others: Any
) -> tuple[Tensor, ...]:
    *tensors, h_dtype, needs = others[:TENSORS]
    shapes = _gradient_shapes(h, Operands(x, None, *tensors), h_dtype)
    return tuple(
        x.new_empty(like[0], dtype=like[1]) if need and like else x.new_empty(0)
        for like, need in zip(shapes, needs, strict=True)
    )


_FORM = (
    "float eps, float weight_offset, float scale_offset, bool layer, bool late, "
    "ScalarType sum_dtype, ScalarType norm_dtype, ScalarType dtype"
)
_OTHERS = "Tensor? gate, Tensor? weight, Tensor? bias, Tensor? scale, Tensor? shift"

define(
    f"fused_norm(Tensor x, Tensor? residual, {_OTHERS}, {_FORM}) -> (Tensor, Tensor)",
    run_forward,
    _fake_forward,
)
define(
    f"fused_norm_backward(Tensor dy, Tensor? dh, Tensor h, Tensor x, {_OTHERS}, "
    f"ScalarType h_dtype, bool[] needs, {_FORM}) -> ({', '.join(['Tensor'] * TENSORS)})",
    run_backward,
    _fake_backward,
)
differentiate("fused_norm", _registered_backward, setup_context)
