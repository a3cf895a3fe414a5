"""The operators cudalint::fused_norm and cudalint::fused_norm_backward.

One pair holds every norm of this folder; what a function does not have is None. Gate, scale and
shift come with as many dimensions as x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._library import define, differentiate
from cudalint.kernels._norms import reference
from cudalint.kernels._norms.reference import Form, Operands

TENSORS = len(Operands._fields)


def run_forward(*inputs: Any) -> tuple[Tensor, Tensor]:
    """(y, h); h is empty where there is no residual."""
    operands, form = Operands(*inputs[:TENSORS]), Form(*inputs[TENSORS:])
    y, h = reference.fused_norm(operands, form)
    x = operands.x
    return _laid_out_as(x, y), x.new_empty(0) if operands.residual is None else _laid_out_as(x, h)


def _laid_out_as(x: Tensor, result: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=result.dtype).copy_(result)


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


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    operands = Operands(*inputs[:TENSORS])
    ctx.form = inputs[TENSORS:]
    ctx.set_materialize_grads(False)
    x, residual, gate = operands[:3]
    ctx.x_dtype = ctx.residual_dtype = x.dtype
    h = x
    if residual is not None:
        h, ctx.residual_dtype = output[1], residual.dtype
    ctx.has_residual = residual is not None
    # without a gate the gradients need the sum, not what was added to it
    ctx.save_for_backward(h, h if gate is None else x, *operands[2:])


def gradients(run: Any, ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Any, ...]:
    """One gradient, or None, for each input of the operator."""
    h, x, gate, *others = ctx.saved_tensors
    none = (None,) * len(ctx.form)
    if dy is None and dh is None:
        return (*((None,) * TENSORS), *none)
    if dy is None:
        dy = h.new_zeros(h.shape, dtype=ctx.form[-1])
    need_x, need_residual, *need_others = ctx.needs_input_grad[:TENSORS]
    # without a gate x has the sum's gradient, in another dtype at most
    needs = [need_residual or (need_x and gate is None), need_x and gate is not None, *need_others]
    h_dtype = ctx.residual_dtype
    if gate is None:
        h_dtype = torch.promote_types(ctx.x_dtype, h_dtype)
    dh = dh if ctx.has_residual else None
    found = run(dy, dh, h, x, gate, *others, h_dtype, needs, *ctx.form)
    dx = found[0] if gate is None else found[1]
    first = (
        dx.to(ctx.x_dtype) if need_x else None,
        found[0].to(ctx.residual_dtype) if need_residual else None,
    )
    rest = [g if need else None for g, need in zip(found[2:], need_others, strict=True)]
    return (*first, *rest, *none)


def _registered_backward(ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Any, ...]:
    return gradients(torch.ops.cudalint.fused_norm_backward, ctx, dy, dh)


def _fake_forward(*inputs: Any) -> tuple[Tensor, Tensor]:
    operands, form = Operands(*inputs[:TENSORS]), Form(*inputs[TENSORS:])
    x = operands.x
    y = torch.empty_like(x, dtype=form.dtype)
    if operands.residual is None:
        return y, x.new_empty(0)
    return y, torch.empty_like(x, dtype=form.sum_dtype)


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
