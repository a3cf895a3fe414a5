"""Writes `rms_norm(x, weight, eps)` with the casts of the source, or torch's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.conditions import Condition
from cudalint.facts.graph.patterns.norms import HandNorm, narrow
from cudalint.facts.graph.render import Renderer
from cudalint.facts.graph.unfit import Unfit
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._vectors import is_no_vector
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_TORCH = ("torch.nn.functional", "rms_norm")


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    norm: HandNorm = finding.captures["norm"]
    target = kernel(facts, "rms_norm", _TORCH)
    assert target is not None  # torch has one
    reason = _misfit(norm)
    if reason is not None:
        return Refusal(reason)
    if is_no_vector(facts, norm.result, norm.weight):
        return Refusal("the weight has several dims")
    return planned(
        finding,
        facts,
        target,
        norm.result,
        norm.consumed,
        norm.reads,
        lambda render: _text(target, norm, render),
        lambda: _is_exact(facts, norm),
    )


def write(plan: Plan) -> Patch:
    return patched(plan)


def _misfit(norm: HandNorm) -> str | None:
    """What the fused function would compute differently."""
    if norm.used:
        return "an intermediate value is used elsewhere"
    if norm.upcast and norm.back is None:
        return "the result stays in float32"
    if norm.rounded and norm.offset:
        return "`1 + weight` is applied after rounding"
    if norm.weight_cast and norm.cast != "late":
        return "the weight is cast, and with it the result"
    back = norm.back
    if back is not None and not norm.typed and narrow(back.operands[1].operands[0]) is not norm.x:
        return "the result is not cast to the dtype of the input"
    return None


def _is_exact(facts: PythonFacts, norm: HandNorm) -> bool:
    if norm.cast == "none":
        return norm.offset == 0.0 and _only_takes_float32(facts, norm)
    return True


def _only_takes_float32(facts: PythonFacts, norm: HandNorm) -> bool:
    """Whether a helper like `_norm(self, x)` is only ever called with `x.float()`."""
    node = norm.result.node
    function = facts.names.enclosing(node, "function_definition") if node is not None else None
    if function is None or norm.x.op != "input" or norm.weight is not None:
        return False
    name = function.child_by_field_name("name")
    calls = list(facts.calls(facts.code(name))) if name is not None else []
    return bool(calls) and all(_passes_float32(facts, call) for call in calls)


def _passes_float32(facts: PythonFacts, call: Node) -> bool:
    given = facts.names.arguments(call).positional
    text = facts.code(given[0]) if len(given) == 1 else ""
    return text.endswith((".float()", ".to(torch.float32)", ".to(torch.float)"))


def _text(target: Kernel, norm: HandNorm, render: Renderer) -> str:
    x, weight = render.text(norm.x), _weight(norm, render)
    eps = render.text(norm.eps) if norm.eps is not None else "0.0"
    if target.source == "torch":
        return _torch(target, norm, render, x, weight, eps)
    late = weight is not None and (norm.cast == "late" or bool(norm.offset))
    given = [x, *([weight, eps] if weight is not None else [f"eps={eps}"])]
    given += ['cast="late"'] if late else []
    given += [f"weight_offset={float(norm.offset)}"] if norm.offset else []
    return call(render.facts, render.expression, target.spelling, given)


def _weight(norm: HandNorm, render: Renderer) -> str | None:
    if norm.weight is None:
        return None
    text = render.text(norm.weight)
    if norm.optional is None:
        return text
    test, wanted = norm.optional
    if test.op == "is_none" and test.operands[0] is norm.weight and not wanted:
        return text  # None is no weight for the function either
    return f"{text} if {Condition(test, wanted).text(render)} else None"


def _torch(
    target: Kernel, norm: HandNorm, render: Renderer, x: str, weight: str | None, eps: str
) -> str:
    """torch's function multiplies by the weight before it rounds: Llama's order is two steps."""
    shape = f"({render.atom(norm.x)}.shape[-1],)"
    spelling, node, facts = target.spelling, render.expression, render.facts
    if norm.optional is not None and " else " in (weight or ""):
        raise Unfit("the weight is under a condition")
    if weight is None:
        return call(facts, node, spelling, [x, shape, f"eps={eps}"])
    if norm.cast == "late" or norm.offset:
        scaled = f"{norm.offset} + {weight}" if norm.offset else weight
        return call(facts, node, spelling, [x, shape, scaled, eps])
    plain = call(facts, node, spelling, [x, shape, f"eps={eps}"])
    return f"{weight} * {plain}"
