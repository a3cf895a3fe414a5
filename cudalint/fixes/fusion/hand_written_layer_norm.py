"""Writes `layer_norm(x, weight, bias, eps)`, or torch's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.norms import HandNorm, narrow
from cudalint.facts.graph.render import Renderer
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._vectors import is_no_vector
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.python import PythonFacts

_TORCH = ("torch.nn.functional", "layer_norm")


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    norm: HandNorm = finding.captures["norm"]
    target = kernel(facts, "layer_norm", _TORCH)
    assert target is not None  # torch has one
    reason = _misfit(norm)
    if reason is not None:
        return Refusal(reason)
    if any(is_no_vector(facts, norm.result, part) for part in (norm.weight, norm.bias)):
        return Refusal("a parameter has several dims")
    return planned(
        finding,
        facts,
        target,
        norm.result,
        norm.consumed,
        norm.reads,
        lambda render: _text(target, norm, render),
        lambda: _is_exact(norm),
        helpers=True,
    )


def write(plan: Plan) -> Patch:
    return patched(plan)


def _misfit(norm: HandNorm) -> str | None:
    """What the fused function would compute differently."""
    if norm.used:
        return "an intermediate value is used elsewhere"
    if norm.upcast and norm.back is None:
        return "the result stays in float32"
    if norm.offset:
        return "a number is added to the weight"
    if norm.optional is not None:
        return "the weight is under a condition"
    if norm.weight_cast and norm.back is None:
        return "a parameter is cast, and with it the result"
    back = norm.back
    if back is not None and narrow(back.operands[-1].operands[0]) is not norm.x:
        return "the result is not cast to the dtype of the input"
    return None


def _is_exact(norm: HandNorm) -> bool:
    """A parameter applied after the last cast may be of another dtype, and widen the result."""
    plain = norm.weight is None and norm.bias is None
    return plain or (norm.back is not None and not norm.rounded)


def _text(target: Kernel, norm: HandNorm, render: Renderer) -> str:
    x = render.text(norm.x)
    weight = render.text(norm.weight) if norm.weight is not None else None
    bias = render.text(norm.bias) if norm.bias is not None else None
    eps = render.text(norm.eps) if norm.eps is not None else "0.0"
    given = [x]
    if target.source == "torch":
        given.append(f"({render.atom(norm.x)}.shape[-1],)")
    if weight is not None and bias is not None:
        given += [weight, bias, eps]
    else:
        given += [weight] if weight is not None else []
        given += [f"bias={bias}"] if bias is not None else []
        given.append(f"eps={eps}")
    return call(render.facts, render.expression, target.spelling, given)
