"""Writes `attention(q, k, v, …)`, or torch's `scaled_dot_product_attention`, with all it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.attention import Attention
from cudalint.facts.graph.patterns.attention_reader import terms_of
from cudalint.facts.graph.patterns.attention_terms import Terms
from cudalint.facts.graph.render import Renderer, reordered
from cudalint.facts.graph.unfit import Unfit
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts

_HALVES = (b"bfloat16", b"float16", b"bf16", b"fp16", b"autocast", b".half(")
_TORCH = ("torch.nn.functional", "scaled_dot_product_attention")


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: Attention = finding.captures["attention"]
    target = kernel(facts, "attention", _TORCH)
    assert target is not None  # torch has one
    try:
        terms = terms_of(facts, found)
    except Unfit as reason:
        return Refusal(str(reason))
    if target.source == "torch" and _products_are_faster(facts, terms):
        return Refusal(
            "compiled in float32, torch's fused attention takes longer than its products, and the "
            "file shows no half precision"
        )
    return planned(
        finding,
        facts,
        target,
        found.result,
        found.consumed,
        found.reads,
        lambda render: _call(target, found, terms, render),
        lambda: terms.exact,
    )


def _products_are_faster(facts: PythonFacts, terms: Terms) -> bool:
    """Whether inductor, which leaves the products to cuBLAS, may be faster than torch's function.

    In float32 it is, unless the causal half of the scores is left out. What `attention` does is
    chosen at each call, and needs no such care.
    """
    settings = facts.settings
    if not settings.assume_compiled or settings.precision_policy == "bf16" or terms.causal:
        return False
    return not any(facts.places(word) for word in _HALVES)


def write(plan: Plan) -> Patch:
    return patched(plan)


def _call(target: Kernel, found: Attention, terms: Terms, render: Renderer) -> str:
    query = terms.query_text(render)
    key, value = render.text(terms.key), render.permuted(terms.value, (-1, -2))
    given = [query, key, value, *_keywords(target, terms, render)]
    tail = reordered(found.result, found.order) if found.order else ""
    return call(render.facts, render.expression, target.spelling, given, tail)


def _keywords(target: Kernel, terms: Terms, render: Renderer) -> list[str]:
    torch = target.source == "torch"
    mask, bias, causal = terms.mask_text(render), terms.bias_text(render), terms.causal_text(render)
    if mask is None and bias is not None and "mask" in bias.lower():
        mask, bias = bias, None
    if torch:
        if terms.softcap is not None:
            raise Unfit("torch has no fused attention with a soft cap")
        if (mask is not None) + (bias is not None) + (causal is not None) > 1:
            raise Unfit("torch's fused attention takes one mask")
        mask, bias = mask or bias, None
    given = {
        "attn_mask": mask,
        "dropout_p": terms.dropout_text(render),
        "is_causal": causal,
        "scale": terms.scale_text(render),
        "enable_gqa": "True" if terms.grouped else None,
        "bias": bias,
        "softcap": None if terms.softcap is None else render.text(terms.softcap),
    }
    return [f"{name}={text}" for name, text in given.items() if text is not None]
