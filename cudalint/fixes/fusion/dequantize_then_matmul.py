"""Writes `int8_linear(x, qweight, scales)` for a plain int8 weight with a scale for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.dequantized import Expanded
from cudalint.facts.graph.patterns.int8_weights import biased, scales_of
from cudalint.facts.graph.unfit import Unfit
from cudalint.fixes.fusion._kernels import kernel
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: Expanded = finding.captures["expanded"]
    node = found.result.node
    function = facts.names.enclosing(node, "function_definition") if node is not None else None
    if function is None:
        return Refusal("it stands outside of a function")
    graph = facts.graphs.of(function)
    target = kernel(facts, "int8_linear")
    if target is None:
        return Refusal("torch has no such function")
    try:
        scales = scales_of(facts, graph, found)
    except Unfit as reason:
        return Refusal(str(reason))
    result, bias = biased(graph, found)
    consumed = {**found.steps, found.product.id: found.product, found.result.id: found.result}
    consumed[result.id] = result

    def spell(render: Renderer) -> str:
        given = [render.text(part) for part in (found.x, found.stored, scales)]
        if bias is not None:
            given.append(render.text(bias))
        return call(facts, render.expression, target.spelling, given)

    return planned(finding, facts, target, result, consumed, [], spell, lambda: True)


def write(plan: Plan) -> Patch:
    return patched(plan)
