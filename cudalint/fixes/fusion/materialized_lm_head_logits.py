"""Writes `linear_cross_entropy(h, weight, target, …)` for a projection and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.lm_heads import Head
from cudalint.facts.graph.patterns.numbers import is_python_number
from cudalint.facts.graph.render import names_of
from cudalint.facts.graph.unfit import Unfit
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.graph.values import Value
    from cudalint.facts.python import PythonFacts

_OPTIONS = frozenset({"ignore_index", "label_smoothing", "reduction"})


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    head: Head = finding.captures["head"]
    target = kernel(facts, "linear_cross_entropy")
    if target is None:
        return Refusal("the oldest torch that is supported has no such function")
    if head.loss.unread:
        return Refusal(head.loss.unread)
    if head.branched:
        return Refusal("the projection is chosen by a branch")
    if not head.loss.options.keys() <= _OPTIONS:
        return Refusal("the fused function takes no class weights")
    if head.softcap is not None and not _is_number(facts, head, head.softcap):
        return Refusal("the soft cap may be a tensor")
    return planned(
        finding,
        facts,
        target,
        head.loss.value,
        head.consumed,
        head.reads,
        lambda render: _call(target, head, render),
        lambda: head.cast and not head.path and not head.loss.module and head.sized,
    )


def _is_number(facts: PythonFacts, head: Head, value: Value) -> bool:
    function = facts.names.enclosing(head.loss.node, "function_definition")
    holder = facts.graphs.classes.of(head.loss.node)
    return function is not None and is_python_number(facts, holder, function, value)


def write(plan: Plan) -> Patch:
    return patched(plan)


def _call(target: Kernel, head: Head, render: Renderer) -> str:
    weight = render.text(head.weight) if head.weight is not None else f"{head.path}.weight"
    given = [_hidden(head, render), weight, render.text(head.loss.target)]
    if head.bias is not None:
        bias = head.bias if isinstance(head.bias, str) else render.text(head.bias)
        given.append(f"linear_bias={bias}")
    given += head.loss.texts(render)
    if head.softcap is not None:
        given.append(f"softcap={render.text(head.softcap)}")
    return call(render.facts, render.expression, target.spelling, given)


def _hidden(head: Head, render: Renderer) -> str:
    """The activations, sliced and folded as their logits were."""
    if not head.slices and not head.flat:
        return render.text(head.hidden)
    text = render.atom(head.hidden) + "".join(_subscript(at, render) for at in head.slices)
    return f"{text}.flatten(0, -2)" if head.flat else text


def _subscript(value: Value, render: Renderer) -> str:
    """`[..., :-1, :]` as the source has it."""
    node = value.node
    owner = node.child_by_field_name("value") if node is not None else None
    if node is None or owner is None:
        raise Unfit("how the logits are sliced is not in sight")
    for child in node.children_by_field_name("subscript"):
        render.names.update(names_of(render.facts, child))
    return render.facts.text[owner.end_byte : node.end_byte].decode()
