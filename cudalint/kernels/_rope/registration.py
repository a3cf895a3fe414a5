"""The operators cudalint::apply_rope and cudalint::apply_rope_backward, and the way round them.

They have no gradient for cos and sin: the functions send tables that need one to the reference.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._dispatch import HALF_OR_SINGLE, kernel_runs
from cudalint.kernels._library import define, differentiate, direct, transformed
from cudalint.kernels._rope import reference
from cudalint.kernels._rope.reference import Form


@functools.cache
def _launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._rope import launches

    return launches


def kernel_takes(x: Tensor, cos: Tensor, dtype: torch.dtype) -> bool:
    if not kernel_runs(x) or not kernel_runs(cos) or dtype not in HALF_OR_SINGLE:
        return False
    return table_fits(cos, x) and cos.shape[-1] > 0


def table_fits(cos: Tensor, x: Tensor) -> bool:
    """Whether the table broadcasts to `x` as it is, not the other way round."""
    extra = x.dim() - cos.dim()
    if extra < 0:
        return False
    return all([t == 1 or t == n for t, n in zip(cos.shape[:-1], x.shape[extra:-1], strict=True)])


def run_forward(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
    half_table: bool,
    q_dtype: torch.dtype,
    k_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The second is empty where there is no `k`."""
    if kernel_takes(q, cos, q_dtype) and (k is None or kernel_takes(k, cos, k_dtype)):
        return launched(q, k, cos, sin, interleaved, half_table, q_dtype, k_dtype)
    form = Form(interleaved, half_table)
    first = _laid_out_as(q, reference.rope(q, cos, sin, form, q_dtype))
    if k is None:
        return first, q.new_empty(0)
    return first, _laid_out_as(k, reference.rope(k, cos, sin, form, k_dtype))


def launched(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
    half_table: bool,
    q_dtype: torch.dtype,
    k_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """`run_forward` of what the kernel is known to take."""
    launches = _launches()
    tables = launches.Tables(cos, sin, Form(interleaved, half_table), False)
    turned: tuple[Tensor, Tensor] = launches.turn(q, k, tables, q_dtype, k_dtype)
    return turned


def run_backward(
    dq: Tensor,
    dk: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
    half_table: bool,
    q_dtype: torch.dtype,
    k_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The gradients in the dtypes of q and k."""
    form = Form(interleaved, half_table)
    if kernel_takes(dq, cos, q_dtype) and (dk is None or kernel_takes(dk, cos, k_dtype)):
        launches = _launches()
        tables = launches.Tables(cos, sin, form, True)
        turned: tuple[Tensor, Tensor] = launches.turn(dq, dk, tables, q_dtype, k_dtype)
        return turned
    first = _laid_out_as(dq, reference.rope_backward(dq, cos, sin, form, q_dtype))
    if dk is None:
        return first, dq.new_empty(0)
    return first, _laid_out_as(dk, reference.rope_backward(dk, cos, sin, form, k_dtype))


def _laid_out_as(x: Tensor, result: Tensor) -> Tensor:
    return torch.empty_like(x, dtype=result.dtype).copy_(result)


class Rope(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    `forward` takes the context: a `setup_context` costs 30 µs a call in binding arguments. Where
    the gradient is to be differentiated again, the operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        _setup_context(ctx, inputs, None)
        return launched(*inputs)

    @staticmethod
    def backward(ctx: Any, dq: Tensor | None, dk: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dq, dk)
        return _gradients(run_backward, ctx, dq, dk)


with_gradient = direct(Rope)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    q, k, cos, sin, *form = inputs
    ctx.set_materialize_grads(False)
    ctx.form, ctx.q_dtype, ctx.k_dtype = form[:2], q.dtype, q.dtype if k is None else k.dtype
    ctx.save_for_backward(cos, sin)


def _gradients(
    run: Any, ctx: Any, dq: Tensor | None, dk: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Only what is asked for, and only from what has come."""
    q_grad, k_grad, *_ = ctx.needs_input_grad
    dq, dk = dq if q_grad else None, dk if k_grad else None
    none = (None,) * 6
    if dq is None and dk is None:
        return None, None, *none
    first, second = (dk, None) if dq is None else (dq, dk)
    dtypes = (ctx.k_dtype if dq is None else ctx.q_dtype, ctx.k_dtype)
    dx, dz = run(first, second, *ctx.saved_tensors, *ctx.form, *dtypes)
    if dq is None:
        return None, dx, *none
    return dx, None if dk is None else dz, *none


def _registered_backward(
    ctx: Any, dq: Tensor | None, dk: Tensor | None
) -> tuple[Tensor | None, ...]:
    return _gradients(torch.ops.cudalint.apply_rope_backward, ctx, dq, dk)


def _fake(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
    half_table: bool,
    q_dtype: torch.dtype,
    k_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    first = torch.empty_like(q, dtype=q_dtype)
    return first, q.new_empty(0) if k is None else torch.empty_like(k, dtype=k_dtype)


_TABLES = "Tensor cos, Tensor sin, bool interleaved, bool half_table"
_DTYPES = "ScalarType q_dtype, ScalarType k_dtype"

define(
    f"apply_rope(Tensor q, Tensor? k, {_TABLES}, {_DTYPES}) -> (Tensor, Tensor)",
    run_forward,
    _fake,
)
define(
    f"apply_rope_backward(Tensor dq, Tensor? dk, {_TABLES}, {_DTYPES}) -> (Tensor, Tensor)",
    run_backward,
    _fake,
)
differentiate("apply_rope", _registered_backward, _setup_context)
TransformedRope = transformed("apply_rope", _registered_backward, _setup_context)
