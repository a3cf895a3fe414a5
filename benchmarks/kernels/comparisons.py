"""What `accuracy` compares, by the family of `--only`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import by_hand
from benchmarks.kernels.accuracy import Comparison
from benchmarks.kernels.norm_comparisons import adaptive_norms, add_norms, layer_norms, rms_norms
from cudalint.kernels import (
    apply_rope,
    attention,
    attention_varlen,
    cross_entropy,
    decode_attention,
    geglu,
    geglu_packed,
    linear_cross_entropy,
    log_softmax,
    quantize_int4,
    quantize_int8,
    rope,
    softmax,
    swiglu,
    swiglu_packed,
)
from cudalint.kernels._attention import reference as attention_reference
from cudalint.kernels._attention.reference import Options as Attention
from cudalint.kernels._cross_entropy import reference as cross_entropy_reference
from cudalint.kernels._cross_entropy.reference import Options as Losses
from cudalint.kernels._glu import reference as glu_reference
from cudalint.kernels._linear_cross_entropy import reference as linear_reference
from cudalint.kernels._quantized import registration as quantized
from cudalint.kernels._quantized.reference import Weight, expanded
from cudalint.kernels._rope import reference as rope_reference
from cudalint.kernels._rope.reference import Form
from cudalint.kernels._softmax import reference as softmax_reference

Comparisons = dict[str, Comparison]


def comparisons(family: str, device: str) -> Comparisons:
    make = _FAMILIES.get(family)
    return {} if make is None else make(device)


def _softmaxes(device: str) -> Comparisons:
    def fair(x: Tensor, log: bool) -> Tensor:
        return softmax_reference.softmax(x, -1, x.dtype, log)

    plain, log = partial(fair, log=False), partial(fair, log=True)
    return {
        "softmax 512×1024": Comparison(softmax, plain, by_hand.softmax, [(512, 1024)]),
        "softmax 64×131072": Comparison(softmax, plain, by_hand.softmax, [(64, 131072)]),
        "log_softmax 512×1024": Comparison(log_softmax, log, by_hand.log_softmax, [(512, 1024)]),
    }


def _units(device: str) -> Comparisons:
    def of(name: str, kind: Any, ours: Any, hand: Any) -> Comparisons:
        fair = partial(glu_reference.glu, kind=kind)
        return {f"{name} 512×4096": Comparison(ours, fair, hand, [(512, 4096)] * 2)}

    def packed(name: str, kind: Any, ours: Any, hand: Any) -> Comparisons:
        fair = partial(glu_reference.glu_packed, gate_first=True, kind=kind)
        return {f"{name} 512×8192": Comparison(ours, fair, hand, [(512, 8192)])}

    return {
        **of("swiglu", "silu", swiglu, by_hand.swiglu),
        **of("geglu tanh", "gelu_tanh", partial(geglu, approximate="tanh"), by_hand.geglu),
        **of("geglu", "gelu", geglu, by_hand.geglu_erf),
        **packed("swiglu_packed", "silu", swiglu_packed, by_hand.swiglu_packed),
        **packed(
            "geglu_packed", "gelu", partial(geglu_packed, gate_first=True), by_hand.geglu_packed
        ),
    }


def _ropes(device: str) -> Comparisons:
    """The tables are those of bfloat16 in every dtype, so that they are not what is compared."""
    angles = torch.randn(512, 128, device=device)
    cos, sin = (t.bfloat16().float() for t in (angles.cos(), angles.sin()))

    def pair(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return apply_rope(q, k, cos.to(q.dtype), sin.to(q.dtype))

    def fair(x: Tensor, form: Form) -> Tensor:
        width = rope_reference.rotary_width(cos, form)
        return rope_reference.rope(x, cos[:, :width], sin[:, :width], form, x.dtype)

    def interleaved(x: Tensor) -> Tensor:
        return rope(x, cos.to(x.dtype), sin.to(x.dtype), layout="interleaved")

    halves = Form(False, False)
    return {
        "apply_rope 32/8×512×128": Comparison(
            pair, lambda q, k: (fair(q, halves), fair(k, halves)),
            lambda q, k: by_hand.apply_rope(q, k, cos.to(q.dtype), sin.to(q.dtype)),
            [(32, 512, 128), (8, 512, 128)],
        ),
        "rope interleaved 32×512×128": Comparison(
            interleaved, partial(fair, form=Form(True, False)),
            lambda x: by_hand.rope_interleaved(x, cos.to(x.dtype), sin.to(x.dtype)), [(32, 512, 128)],
        ),
    }  # fmt: skip


def _losses(device: str) -> Comparisons:
    target = torch.randint(0, 32000, (512,), device=device)
    options = Losses(-100, 0.0, "none", None, 0.0)
    return {
        "cross_entropy 512×32000": Comparison(
            lambda x: cross_entropy(x, target, reduction="none"),
            lambda x: cross_entropy_reference.cross_entropy(x, target, None, options),
            lambda x: F.cross_entropy(x.float(), target, reduction="none"),
            [(512, 32000)],
        )
    }


def _linear_losses(device: str) -> Comparisons:
    target = torch.randint(0, 4000, (512,), device=device)
    options = Losses(-100, 0.0, "mean", None, 0.0)

    def ours(x: Tensor, w: Tensor) -> Tensor:
        return linear_cross_entropy(x, w / 16, target)

    def fair(x: Tensor, w: Tensor) -> Tensor:
        return linear_reference.linear_cross_entropy(x, w / 16, target, None, options)

    def hand(x: Tensor, w: Tensor) -> Tensor:
        return by_hand.linear_cross_entropy(x.float(), w.float() / 16, target)

    shapes = [(512, 256), (4000, 256)]
    return {"linear_cross_entropy 512×256×4000": Comparison(ours, fair, hand, shapes, rounds=True)}


CAUSAL = Attention(None, 0.0, True, None, False, None, None, None, None, None, "top-left")
GROUPED = CAUSAL._replace(is_causal=False, enable_gqa=True)


def _attentions(device: str) -> Comparisons:
    return {
        "attention 2×4×512×64 causal": Comparison(
            partial(attention, is_causal=True), partial(_fair_attention, options=CAUSAL),
            partial(by_hand.attention, causal=True), [(2, 4, 512, 64)] * 3, factor=3.0,
        )
    }  # fmt: skip


def _own_attentions(device: str) -> Comparisons:
    """By hand: the same formula with each step rounded to the dtype."""
    slopes = 2.0 ** -torch.arange(1.0, 5.0, device=device)
    sinks = torch.randn(4, device=device)
    variants: dict[str, dict[str, Any]] = {
        "softcap": {"softcap": 5.0},
        "window": {"window": (127, 0)},
        "ALiBi": {"alibi_slopes": slopes},
        "sinks": {"sinks": sinks},
    }
    return {
        f"attention 2×4×512×64 causal, {name}": Comparison(
            partial(_with_options, attention, options=options),
            partial(_fair_attention, options=CAUSAL._replace(**options)),
            partial(_with_options, by_hand.scored_attention, options=options),
            [(2, 4, 512, 64)] * 3, factor=3.0,
        )
        for name, options in variants.items()
    }  # fmt: skip


def _with_options(
    function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]
) -> Tensor:
    return function(q, k, v, is_causal=True, **options)


def _fair_attention(q: Tensor, k: Tensor, v: Tensor, options: Attention) -> Tensor:
    return attention_reference.attention(q, k, v, options)


def _packed_attentions(device: str) -> Comparisons:
    lengths = (100, 28, 256, 128)
    offsets = torch.tensor([0, *lengths], device=device).cumsum(0).int()

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention_varlen(q, k, v, offsets, offsets, 256, 256, is_causal=True)

    def each(one: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        split = zip(*[t.transpose(0, 1)[None].split(lengths, 2) for t in (q, k, v)], strict=True)
        return torch.cat([one(*parts) for parts in split], 2)[0].transpose(0, 1)

    fair = partial(each, partial(_fair_attention, options=CAUSAL))
    hand = partial(each, partial(by_hand.attention, causal=True))
    shapes = [(512, 4, 64)] * 3
    return {
        "attention_varlen 4 of 28 to 256×4×64": Comparison(ours, fair, hand, shapes, False, 3.0)
    }


def _decodings(device: str) -> Comparisons:
    lengths = torch.full((4,), 1024, device=device, dtype=torch.int32)
    return {
        "decode_attention 4×8/2×1024×128": Comparison(
            partial(decode_attention, lengths=lengths), partial(_fair_attention, options=GROUPED),
            partial(by_hand.attention, causal=False), [(4, 8, 1, 128), *[(4, 2, 1024, 128)] * 2],
            forward_only=True,
        )
    }  # fmt: skip


def _quantized(device: str) -> Comparisons:
    weight = torch.randn(512, 1024, device=device)
    int8 = Weight(*quantize_int8(weight), None, None, 1024, "int8")
    found: Comparisons = {}
    layouts: tuple[Literal["gptq", "awq"], ...] = ("gptq", "awq")
    for w in (int8, *[Weight(*quantize_int4(weight, layout=n), None, 128, n) for n in layouts]):
        plain = partial(_expanded_product, weight=w)
        name = "int8_linear" if w is int8 else f"int4_linear, {w.layout}"
        found[f"{name} 8×1024, 512 outputs"] = Comparison(
            partial(_packed_product, weight=w), plain, plain, [(8, 1024)], forward_only=True
        )
    return found


def _packed_product(x: Tensor, *, weight: Weight) -> Tensor:
    return quantized.run_forward(x, None, *weight)


def _expanded_product(x: Tensor, *, weight: Weight) -> Tensor:
    return x @ expanded(weight, x.dtype).T


_FAMILIES: dict[str, Callable[[str], Comparisons]] = {
    "rms_norm": rms_norms,
    "layer_norm": layer_norms,
    "add_norm": add_norms,
    "adaptive_norm": adaptive_norms,
    "softmax": _softmaxes,
    "attention": _attentions,
    "own_attention": _own_attentions,
    "attention_varlen": _packed_attentions,
    "decode": _decodings,
    "glu": _units,
    "rope": _ropes,
    "cross_entropy": _losses,
    "linear_cross_entropy": _linear_losses,
    "quantized_linear": _quantized,
}
