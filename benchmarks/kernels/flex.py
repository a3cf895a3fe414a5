"""torch's flex_attention, compiled, as the peer of what `attention` has its own kernel for."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from benchmarks.kernels.case import Function, compiled


def flex(
    length: int,
    *,
    window: tuple[int, int] | None = None,
    is_causal: bool = False,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None,
    tanh: Function = torch.tanh,
) -> Function:
    """A function of (q, k, v), its block mask made beforehand; a window ends at the query.

    It has no sinks: the result is scaled down by the share that they take of the sum.
    """
    mask = None
    if is_causal or window is not None:
        made = partial(_seen, length if window is None else window[0])
        mask = create_block_mask(made, None, None, length, length, device="cuda")
    score = None
    if softcap is not None:
        score = partial(_capped, softcap, tanh)
    if alibi_slopes is not None:
        score = partial(_alibi, alibi_slopes)
    return compiled(partial(_run, score=score, mask=mask, sinks=sinks))


def _run(q: Tensor, k: Tensor, v: Tensor, *, score: Any, mask: Any, sinks: Tensor | None) -> Tensor:
    gqa = q.shape[1] != k.shape[1]
    if sinks is None:
        return flex_attention(q, k, v, score_mod=score, block_mask=mask, enable_gqa=gqa)  # type: ignore[return-value]
    out, lse = flex_attention(
        q, k, v, score_mod=score, block_mask=mask, enable_gqa=gqa, return_lse=True
    )
    return out * torch.sigmoid(lse - sinks[:, None])[..., None].to(out.dtype)  # type: ignore[union-attr]


def _seen(left: int, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return (j <= i) & (i - j <= left)


def _capped(
    softcap: float, tanh: Function, s: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor
) -> Tensor:
    capped: Tensor = softcap * tanh(s / softcap)
    return capped


def _alibi(slopes: Tensor, s: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return s - slopes[h] * (i - j)


class ApproximateTanh(torch.autograd.Function):
    """The hardware's tanh, right to 11 bits; a figure beside the bar."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        result: Tensor = torch.ops.cudalint_benchmarks.tanh(x)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (share,) = ctx.saved_tensors
        return gradient * (1 - share * share)


def approximate_tanh(x: Tensor) -> Tensor:
    _register()
    result: Tensor = ApproximateTanh.apply(x)  # type: ignore[no-untyped-call]
    return result


def _register() -> None:
    if hasattr(torch.ops.cudalint_benchmarks, "tanh"):
        return
    from torch._inductor.lowering import make_pointwise, register_lowering
    from torch._inductor.virtualized import ops

    @torch.library.custom_op("cudalint_benchmarks::tanh", mutates_args=())
    def tanh(x: Tensor) -> Tensor:
        return torch.tanh(x)

    tanh.register_fake(torch.empty_like)
    tanh.register_vmap(lambda info, dims, x: (tanh(x), dims[0]))
    asm = partial(ops.inline_asm_elementwise, asm="tanh.approx.f32 $0, $1;")
    register_lowering(torch.ops.cudalint_benchmarks.tanh)(make_pointwise(asm))
