"""Attention with what torch's own has no option for: window, ALiBi, sinks, softcap, bias with dropout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.case import Bar, Case, Function, calls
from benchmarks.kernels.flex import approximate_tanh, flex
from cudalint.kernels import attention

# What a forward and a forward with backward must reach, as times of the peer.
FLEX = (Bar("flex"), Bar("flex"))
CAPPED = (Bar("flex", 1.5), Bar("flex"))
DROPPED = (Bar("by hand", 3.0), Bar("by hand", 1.5))


class Shape(NamedTuple):
    batch: int
    heads: int
    kv_heads: int
    length: int
    width: int

    @property
    def name(self) -> str:
        heads = f"{self.heads}/{self.kv_heads}"
        return f"{self.batch}×{heads}×{self.length}×{self.width}"


WINDOWS = (
    Shape(4, 16, 16, 4096, 128), Shape(2, 16, 16, 8192, 128), Shape(2, 16, 16, 8192, 64),
)  # fmt: skip
ALIBI = (Shape(4, 16, 16, 4096, 128), Shape(4, 16, 16, 2048, 64))
SINKS = (Shape(1, 64, 8, 8192, 64),)  # gpt-oss
SOFTCAP = (Shape(2, 16, 8, 4096, 256), Shape(4, 16, 16, 4096, 128))  # Gemma 2 first
BIAS = (Shape(4, 12, 12, 2048, 64),)  # T5


def own_attentions() -> Iterator[Case]:
    for shape in WINDOWS:
        yield from _cases("window 1024", shape, FLEX, window=(1023, 0))
    for shape in ALIBI:
        slopes = 2.0 ** -torch.arange(1, shape.heads + 1, device="cuda").mul(8 / shape.heads)
        yield from _cases("ALiBi", shape, FLEX, is_causal=True, alibi_slopes=slopes)
    for shape in SINKS:
        sinks = torch.randn(shape.heads, device="cuda")
        yield from _cases("sinks, causal", shape, FLEX, is_causal=True, sinks=sinks)
        yield from _cases("sinks, window 128", shape, FLEX, window=(127, 0), sinks=sinks)
    for shape in SOFTCAP:
        yield from _cases("softcap", shape, CAPPED, is_causal=True, softcap=50.0)
    for shape in BIAS:
        bias = torch.randn(1, shape.heads, shape.length, shape.length, device="cuda").bfloat16()
        yield from _cases("bias, dropout 0.1", shape, DROPPED, bias=bias, dropout_p=0.1)


def _cases(name: str, shape: Shape, bars: tuple[Bar, Bar], **options: Any) -> Iterator[Case]:
    heads = (shape.heads, shape.kv_heads, shape.kv_heads)
    q, k, v = (
        torch.randn(shape.batch, h, shape.length, shape.width, device="cuda", dtype=torch.bfloat16)
        for h in heads
    )
    functions = _functions(shape, options)
    operations = 4 * shape.batch * shape.heads * _seen(shape.length, options) * shape.width
    modes = (("forward", 1.0), ("forward+backward", 3.5))
    for (mode, share), bar in zip(modes, bars, strict=True):
        made = calls(functions, (q, k, v), share > 1)
        yield Case(
            "own_attention", f"{name}, {shape.name}", mode, int(share * operations), made,
            is_compute=True, bar=bar,
        )  # fmt: skip


def _functions(shape: Shape, options: dict[str, Any]) -> dict[str, Function]:
    functions: dict[str, Function] = {
        "by hand": partial(by_hand.scored_attention, **options),
        "ours": partial(_ours, options=options),
    }
    if "bias" in options:  # flex has no dropout
        return functions
    functions["flex"] = flex(shape.length, **options)
    if "softcap" in options:
        functions["flex, approximate"] = flex(shape.length, tanh=approximate_tanh, **options)
    return functions


def _ours(q: Tensor, k: Tensor, v: Tensor, *, options: dict[str, Any]) -> Tensor:
    return attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1], **options)


def _seen(length: int, options: dict[str, Any]) -> int:
    """The pairs of a query and a key that it sees."""
    if "bias" in options:
        return length * length
    window = int(options.get("window", (length - 1, 0))[0]) + 1
    return length * window - window * (window - 1) // 2
