"""The operators cudalint::softmax and cudalint::softmax_backward, and the way round them.

Both work on the last dimension; `log` picks the logarithm. Both ways share `run_forward` and
`run_backward`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cudalint.kernels._dispatch import HALF_OR_SINGLE, kernel_runs
from cudalint.kernels._library import define, differentiate, direct
from cudalint.kernels._softmax import reference


@functools.cache
def _launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._softmax import launches

    return launches


def run_forward(x: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    if not kernel_runs(x) or dtype not in HALF_OR_SINGLE:
        return reference.softmax(x, -1, dtype, log).contiguous()
    y: Tensor = _launches().forward(x, dtype, log)
    return y


def run_backward(dy: Tensor, y: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    if not kernel_runs(y) or dtype not in HALF_OR_SINGLE:
        return reference.softmax_backward(dy, y, dtype, log).contiguous()
    dx: Tensor = _launches().backward(dy, y, dtype, log)
    return dx


class Softmax(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    `forward` takes the context: a `setup_context` costs 30 µs a call in binding arguments. Where
    the gradient is to be differentiated again, the operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
        y = run_forward(x, dtype, log)
        ctx.dtype, ctx.log = x.dtype, log
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dy)
        (y,) = ctx.saved_tensors
        return run_backward(dy, y, ctx.dtype, ctx.log), None, None


with_gradient = direct(Softmax)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.dtype, ctx.log = inputs[0].dtype, inputs[2]
    ctx.save_for_backward(output)


class TransformedSoftmax(torch.autograd.Function):
    """Under torch.func, whose grad takes neither the operator's derivative nor the class above."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        y: Tensor = torch.ops.cudalint.softmax(*inputs)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _setup_context(ctx, inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _registered_backward(ctx, dy)


def _registered_backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    dx = torch.ops.cudalint.softmax_backward(dy, y, ctx.dtype, ctx.log)
    return dx, None, None


def _fake_forward(x: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    return x.new_empty(x.shape, dtype=dtype)


def _fake_backward(dy: Tensor, y: Tensor, dtype: torch.dtype, log: bool) -> Tensor:
    return y.new_empty(y.shape, dtype=dtype)


define("softmax(Tensor x, ScalarType dtype, bool log) -> Tensor", run_forward, _fake_forward)
define(
    "softmax_backward(Tensor dy, Tensor y, ScalarType dtype, bool log) -> Tensor",
    run_backward,
    _fake_backward,
)
differentiate("softmax", _registered_backward, _setup_context)
