"""The operators cudalint::glu and cudalint::glu_packed, their backwards, and the way round them.

Both ways share `run_forward`, `run_backward` and their packed forms.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._dispatch import kernel_runs, result_type
from cudalint.kernels._glu import reference
from cudalint.kernels._glu.reference import Kind
from cudalint.kernels._library import define, differentiate, direct, transformed


@functools.cache
def launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._glu import launches

    return launches


def kernel_takes(gate: Tensor, up: Tensor) -> bool:
    return kernel_runs(gate) and kernel_runs(up) and gate.shape == up.shape and gate.dim() > 0


def run_forward(gate: Tensor, up: Tensor, kind: Kind) -> Tensor:
    if not kernel_takes(gate, up):
        return reference.glu(gate, up, kind).contiguous()
    y: Tensor = launches().forward(gate, up, kind)
    return y


def run_backward(
    dy: Tensor, gate: Tensor, up: Tensor, kind: Kind, gate_grad: bool, up_grad: bool
) -> tuple[Tensor, Tensor]:
    """(dgate, dup), each empty where it is not asked for."""
    if kernel_takes(gate, up):
        dgate, dup = launches().backward(dy, gate, up, kind, gate_grad, up_grad)
        return dgate, dup
    dgate, dup = reference.glu_backward(dy, gate, up, kind)
    return (
        dgate.contiguous() if gate_grad else gate.new_empty(0),
        dup.contiguous() if up_grad else up.new_empty(0),
    )


def run_packed(x: Tensor, gate_first: bool, kind: Kind) -> Tensor:
    if not kernel_runs(x):
        return reference.glu_packed(x, gate_first, kind).contiguous()
    y: Tensor = launches().forward(*reference.split(x, gate_first), kind)
    return y


def run_packed_backward(dy: Tensor, x: Tensor, gate_first: bool, kind: Kind) -> Tensor:
    if kernel_runs(x):
        dx: Tensor = launches().backward_packed(dy, x, gate_first, kind)
        return dx
    dgate, dup = reference.glu_backward(dy, *reference.split(x, gate_first), kind)
    return torch.cat((dgate, dup) if gate_first else (dup, dgate), dim=-1).contiguous()


class GLU(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    `forward` takes the context: a `setup_context` costs 30 µs a call in binding arguments. Where
    the gradient is to be differentiated again, the operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, kind: Kind) -> Tensor:
        ctx.kind = kind
        ctx.save_for_backward(gate, up)
        y: Tensor = launches().forward(gate, up, kind)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dy)
        return _gradients(run_backward, ctx, dy)


class PackedGLU(torch.autograd.Function):
    """As `GLU`, of the packed form."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_first: bool, kind: Kind) -> Tensor:
        ctx.form = (gate_first, kind)
        ctx.save_for_backward(x)
        return run_packed(x, gate_first, kind)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_packed_backward(ctx, dy)
        return run_packed_backward(dy, *ctx.saved_tensors, *ctx.form), None, None


with_gradient, packed_with_gradient = direct(GLU), direct(PackedGLU)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.kind = inputs[2]
    ctx.save_for_backward(*inputs[:2])


def _gradients(run: Any, ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    gate_grad, up_grad, *_ = ctx.needs_input_grad
    dgate, dup = run(dy, *ctx.saved_tensors, ctx.kind, gate_grad, up_grad)
    return dgate if gate_grad else None, dup if up_grad else None, None


def _registered_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _gradients(torch.ops.cudalint.glu_backward, ctx, dy)


def _setup_packed_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.form = inputs[1:]
    ctx.save_for_backward(inputs[0])


def _registered_packed_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx = torch.ops.cudalint.glu_packed_backward(dy, *ctx.saved_tensors, *ctx.form)
    return dx, None, None


def _fake_forward(gate: Tensor, up: Tensor, kind: str) -> Tensor:
    shape = torch.broadcast_shapes(gate.shape, up.shape)  # type: ignore[no-untyped-call]
    return gate.new_empty(shape, dtype=result_type(gate, up))


def _fake_backward(
    dy: Tensor, gate: Tensor, up: Tensor, kind: str, gate_grad: bool, up_grad: bool
) -> tuple[Tensor, Tensor]:
    return (
        gate.new_empty(gate.shape if gate_grad else 0),
        up.new_empty(up.shape if up_grad else 0),
    )


def _fake_packed(x: Tensor, gate_first: bool, kind: str) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


def _fake_packed_backward(dy: Tensor, x: Tensor, gate_first: bool, kind: str) -> Tensor:
    return x.new_empty(x.shape)


define("glu(Tensor gate, Tensor up, str kind) -> Tensor", run_forward, _fake_forward)
define(
    "glu_backward(Tensor dy, Tensor gate, Tensor up, str kind, bool gate_grad, bool up_grad)"
    " -> (Tensor, Tensor)",
    run_backward,
    _fake_backward,
)
differentiate("glu", _registered_backward, _setup_context)
TransformedGLU = transformed("glu", _registered_backward, _setup_context)

define("glu_packed(Tensor x, bool gate_first, str kind) -> Tensor", run_packed, _fake_packed)
define(
    "glu_packed_backward(Tensor dy, Tensor x, bool gate_first, str kind) -> Tensor",
    run_packed_backward,
    _fake_packed_backward,
)
differentiate("glu_packed", _registered_packed_backward, _setup_packed_context)
TransformedPackedGLU = transformed("glu_packed", _registered_packed_backward, _setup_packed_context)
