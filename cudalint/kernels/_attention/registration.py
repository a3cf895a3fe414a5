"""The operators cudalint::attention and cudalint::attention_backward, and the way round them.

They have no gradient for attn_mask and alibi_slopes: those that need one go another way.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from cudalint.kernels._attention import by_formula
from cudalint.kernels._attention.call import Extras, empty_like, empty_result, split
from cudalint.kernels._dispatch import kernel_runs
from cudalint.kernels._library import define, differentiate, transformed

Results = tuple[Tensor, Tensor]
Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

# Where the bias and the sinks stand among the inputs.
BIAS, SINKS = 3, 6


@functools.cache
def launches() -> Any:
    """The launches, which import Triton; an import statement would cost 1 µs a call."""
    from cudalint.kernels._attention import launches

    return launches


def run_forward(query: Tensor, key: Tensor, value: Tensor, *arguments: Any) -> Results:
    """The result, and of each query the highest score and the sum of the exponentials."""
    extras, form = split(arguments)
    if kernel_runs(query):
        runs = launches()
        results: Results = runs.forward(runs.operands(query, key, value, extras, form))
        return results
    out, lse = by_formula.forward(query, key, value, extras, form)
    return empty_result(query, value).copy_(out), lse.contiguous()


def run_backward(
    dout: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    *arguments: Any,
) -> Five:
    """The gradients of query, key, value, bias and sinks; empty what is not wanted."""
    *arguments, q_grad, kv_grad, bias_grad, sinks_grad = arguments  # type: ignore[assignment]
    extras, form = split(tuple(arguments))
    wanted = (q_grad, kv_grad, bias_grad, sinks_grad)
    if kernel_runs(query):
        runs = launches()
        x = runs.operands(query, key, value, extras, form)
        found = runs.backward(dout, x, out, lse, wanted, extras.bias)
        return tuple(query.new_empty(0) if t is None else t for t in found)  # type: ignore[return-value]
    results = _empty_gradients(query, key, value, extras, wanted)
    dq, dk, dv, dscores, dsinks = by_formula.backward(dout, query, key, value, extras, form)
    for result, gradient in zip(results, (dq, dk, dv), strict=False):
        if result.dim() == 4:
            result.copy_(gradient)
    if bias_grad and extras.bias is not None:
        results[3].copy_(dscores.sum_to_size(_four(extras.bias)).view(extras.bias.shape))
    if sinks_grad and dsinks is not None:
        results[4].copy_(dsinks)
    return results


def _four(bias: Tensor) -> tuple[int, ...]:
    return (1,) * (4 - bias.dim()) + tuple(bias.shape)


def _empty_gradients(
    query: Tensor, key: Tensor, value: Tensor, extras: Extras, wanted: tuple[bool, ...]
) -> Five:
    q_grad, kv_grad, bias_grad, sinks_grad = wanted

    def like(t: Tensor | None, asked: bool) -> Tensor:
        return t.new_empty(t.shape) if asked and t is not None else query.new_empty(0)

    return (
        empty_like(query) if q_grad else query.new_empty(0),
        empty_like(key) if kv_grad else query.new_empty(0),
        empty_like(value) if kv_grad else query.new_empty(0),
        like(extras.bias, bias_grad),
        like(extras.sinks, sinks_grad),
    )


class Attention(torch.autograd.Function):
    """The way round the dispatcher, where a gradient is needed.

    `forward` takes the context: a `setup_context` costs 30 µs a call in binding arguments. Where
    the gradient is to be differentiated again, the operator takes over, which says that it cannot.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        out, lse = run_forward(*inputs)
        _keep(ctx, inputs, out, lse)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return _registered_backward(ctx, dout, None)
        return _gradients(run_backward, ctx, dout)


def _keep(ctx: Any, inputs: tuple[Any, ...], out: Tensor, lse: Tensor) -> None:
    extras = 3 + len(Extras._fields)
    ctx.form = inputs[extras:]
    ctx.save_for_backward(*inputs[:3], out, lse, *inputs[3:extras])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    _keep(ctx, inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _gradients(run: Any, ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    asked = ctx.needs_input_grad
    wanted = asked[0], asked[1] or asked[2], asked[BIAS], asked[SINKS]
    dq, dk, dv, dbias, dsinks = run(dout, *ctx.saved_tensors, *ctx.form, *wanted)
    found = dict(zip((0, 1, 2, BIAS, SINKS), (dq, dk, dv, dbias, dsinks), strict=True))
    return tuple(found.get(i) if needs else None for i, needs in enumerate(asked))


def _registered_backward(ctx: Any, dout: Tensor, dlse: Tensor | None) -> tuple[Tensor | None, ...]:
    return _gradients(torch.ops.cudalint.attention_backward, ctx, dout)


def _fake_forward(query: Tensor, key: Tensor, value: Tensor, *arguments: Any) -> Results:
    planes = 2 if split(arguments)[0].apart(query.dtype) else 1
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    return empty_result(query, value), query.new_empty((planes, *query.shape[:3]), dtype=wide)


def _fake_backward(
    dout: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    *arguments: Any,
) -> Five:
    extras, _ = split(arguments[:-4])
    return _empty_gradients(query, key, value, extras, arguments[-4:])


_ARGUMENTS = (
    "Tensor? bias, Tensor? attn_mask, Tensor? alibi_slopes, Tensor? sinks, Tensor? seed, "
    "float? scale, float? softcap, int left, int right, bool bottom_right, float dropout_p"
)
_WANTED = "bool q_grad, bool kv_grad, bool bias_grad, bool sinks_grad"

define(
    f"attention(Tensor query, Tensor key, Tensor value, {_ARGUMENTS}) -> (Tensor, Tensor)",
    run_forward,
    _fake_forward,
)
define(
    "attention_backward(Tensor dout, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse, "
    f"{_ARGUMENTS}, {_WANTED}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    run_backward,
    _fake_backward,
)
differentiate("attention", _registered_backward, _setup_context)
TransformedAttention = transformed("attention", _registered_backward, _setup_context)
