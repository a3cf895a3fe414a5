"""The operators cudalint::cross_entropy and cudalint::cross_entropy_backward, and the way round.

Both ways share `run_forward` and `run_backward`.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._cross_entropy import reference
from cudalint.kernels._cross_entropy.reference import Options
from cudalint.kernels._dispatch import kernel_runs
from cudalint.kernels._library import define, differentiate, direct, transformed

Results = tuple[Tensor, Tensor, Tensor]


class Known:
    """A call's options and, from the first on, its launches; for tensors of one layout."""

    __slots__ = ("backward", "forward", "is_new", "options", "reduce", "single")

    def __init__(self, options: Options) -> None:
        self.options = options
        self.is_new = True
        self.forward: Any = None
        self.reduce: Any = None
        self.single: Any = None
        self.backward: Any = None


@functools.cache
def launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._cross_entropy import launches

    return launches


def run_forward(logits: Tensor, target: Tensor, *options: Any) -> Results:
    """The loss, the rows' statistics (2, ...), and what a row counts for in the loss."""
    form = Options(*options)
    if kernel_runs(logits):
        loss, statistics, share = launches().loss(logits, target, Known(form))
        if form.reduction == "none":  # an operator's results share no memory
            share = torch.ones((), dtype=torch.float32, device=logits.device)
        return loss, statistics, share
    losses, statistics = reference.rows_forward(logits, target, form)
    share = reference.share_of_each(target, form, losses)
    return reference.reduced(losses, share, form).contiguous(), statistics.contiguous(), share


def run_backward(
    dloss: Tensor, logits: Tensor, target: Tensor, statistics: Tensor, share: Tensor, *options: Any
) -> Tensor:
    form = Options(*options)
    if kernel_runs(logits):
        dx: Tensor = launches().backward(dloss, logits, target, statistics, share, form)
        return dx
    dlosses = dloss if form.reduction == "none" else (dloss * share).expand(target.shape)
    return reference.rows_backward(dlosses, logits, target, statistics, form).contiguous()


class CrossEntropy(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    `forward` takes the context: a `setup_context` costs 30 µs a call in binding arguments. Where
    the gradient is to be differentiated again, the operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, known: Known) -> Tensor:
        loss: Tensor
        loss, statistics, share = launches().loss(logits, target, known)
        ctx.known = known
        ctx.save_for_backward(logits, target, statistics, share)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        saved, known = ctx.saved_tensors, ctx.known
        if torch.is_grad_enabled():
            run = torch.ops.cudalint.cross_entropy_backward
            return run(dloss, *saved, *known.options), None, None
        return launches().gradient(dloss, *saved, known), None, None


with_gradient = direct(CrossEntropy)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    ctx.options = inputs[2:]
    ctx.save_for_backward(*inputs[:2], *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _registered_backward(
    ctx: Any, dloss: Tensor, dstatistics: Tensor | None, dshare: Tensor | None
) -> tuple[Tensor | None, ...]:
    dx = torch.ops.cudalint.cross_entropy_backward(dloss, *ctx.saved_tensors, *ctx.options)
    return dx, None, *(None,) * len(ctx.options)


def _fake_forward(logits: Tensor, target: Tensor, *options: Any) -> Results:
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    shape = target.shape if Options(*options).reduction == "none" else ()
    return (
        logits.new_empty(shape, dtype=dtype),
        logits.new_empty((2, *target.shape), dtype=dtype),
        logits.new_empty((), dtype=dtype),
    )


def _fake_backward(dloss: Tensor, logits: Tensor, *others: Any) -> Tensor:
    return logits.new_empty(logits.shape)


_OPTIONS = "int ignore_index, float label_smoothing, str reduction, float? softcap, float z_loss"

define(
    f"cross_entropy(Tensor logits, Tensor target, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
    run_forward,
    _fake_forward,
)
define(
    "cross_entropy_backward(Tensor dloss, Tensor logits, Tensor target, Tensor statistics, "
    f"Tensor share, {_OPTIONS}) -> Tensor",
    run_backward,
    _fake_backward,
)
differentiate("cross_entropy", _registered_backward, _setup_context)
TransformedCrossEntropy = transformed("cross_entropy", _registered_backward, _setup_context)
