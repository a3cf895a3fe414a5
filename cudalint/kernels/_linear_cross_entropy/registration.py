"""The operators cudalint::linear_cross_entropy and its backward, and the way round them.

Both ways share `run_forward` and `run_backward`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._cross_entropy import reference as cross_entropy_reference
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._cross_entropy.registration import launches
from cudalint.kernels._dispatch import kernel_runs
from cudalint.kernels._library import define, differentiate, transformed
from cudalint.kernels._linear_cross_entropy import chunks

Results = tuple[Tensor, Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor]


def _layer(input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> chunks.Layer:
    return chunks.Layer(input.reshape(-1, input.shape[-1]), weight, bias, target.reshape(-1))


def run_forward(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, *options: Any
) -> Results:
    """The loss, (2, N) statistics of the rows, what a row counts for, and the logits or nothing."""
    form = Options(*(*options, 0.0))
    layer = _layer(input, weight, bias, target)
    losses, statistics, logits = chunks.forward(layer, form)
    if kernel_runs(input):
        loss, share = launches().reduced(losses, layer.target, form)
    else:
        share = cross_entropy_reference.share_of_each(layer.target, form, losses)
        loss = cross_entropy_reference.reduced(losses, share, form)
    loss = loss.view(target.shape) if form.reduction == "none" else loss
    return loss, statistics, share, logits


def run_backward(
    dloss: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    statistics: Tensor,
    share: Tensor,
    logits: Tensor,
    needs: list[bool],
    *options: Any,
) -> Gradients:
    """The gradients of input, weight and bias, each empty where `needs` has False."""
    layer, form = _layer(input, weight, bias, target), Options(*(*options, 0.0))
    dloss = dloss.reshape(-1) if form.reduction == "none" else dloss
    dx, dweight, dbias = chunks.backward(dloss, layer, statistics, share, logits, form, needs)
    return dx.view(input.shape) if needs[0] else dx, dweight, dbias


class LinearCrossEntropy(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    Where the gradient is to be differentiated again, the operator takes over, which says that it
    cannot.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        loss, *kept = run_forward(*inputs)
        ctx.options = inputs[4:]
        ctx.save_for_backward(*inputs[:4], *kept)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dloss)
        return _gradients(run_backward, ctx, dloss)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    ctx.options = inputs[4:]
    ctx.save_for_backward(*inputs[:4], *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _gradients(run: Any, ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
    needs = list(ctx.needs_input_grad[:3])
    found = run(dloss, *ctx.saved_tensors, needs, *ctx.options)
    gradients = [g if need else None for g, need in zip(found, needs, strict=True)]
    return *gradients, None, *(None,) * len(ctx.options)


def _registered_backward(
    ctx: Any, dloss: Tensor, *others: Tensor | None
) -> tuple[Tensor | None, ...]:
    return _gradients(torch.ops.cudalint.linear_cross_entropy_backward, ctx, dloss)


def _fake_forward(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, *options: Any
) -> Results:
    dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
    shape = target.shape if options[2] == "none" else ()
    return (
        input.new_empty(shape, dtype=dtype),
        input.new_empty((2, target.numel()), dtype=dtype),
        input.new_empty((), dtype=dtype),
        input.new_empty(_kept_shape(_layer(input, weight, bias, target))),
    )


def _kept_shape(layer: chunks.Layer) -> tuple[int, ...]:
    return (layer.x.shape[0], layer.weight.shape[0]) if layer.is_kept() else (0,)


def _fake_backward(
    dloss: Tensor,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    statistics: Tensor,
    share: Tensor,
    logits: Tensor,
    needs: list[bool],
    *options: Any,
) -> Gradients:
    return (
        input.new_empty(input.shape if needs[0] else 0),
        weight.new_empty(weight.shape if needs[1] else 0),
        weight.new_empty(weight.shape[:1] if needs[2] else 0),
    )


_OPERANDS = "Tensor input, Tensor weight, Tensor? linear_bias, Tensor target"
_OPTIONS = "int ignore_index, float label_smoothing, str reduction, float? softcap"

define(
    f"linear_cross_entropy({_OPERANDS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)",
    run_forward,
    _fake_forward,
)
define(
    f"linear_cross_entropy_backward(Tensor dloss, {_OPERANDS}, Tensor statistics, Tensor share, "
    f"Tensor logits, bool[] needs, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
    run_backward,
    _fake_backward,
)
differentiate("linear_cross_entropy", _registered_backward, _setup_context)
TransformedLinearCrossEntropy = transformed(
    "linear_cross_entropy", _registered_backward, _setup_context
)
