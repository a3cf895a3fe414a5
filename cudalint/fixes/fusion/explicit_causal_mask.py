"""Writes `is_causal=True` in place of a causal mask, and takes away what only made the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.consume import Consumption, Kept, settle
from cudalint.facts.graph.patterns.fused_attention import FusedCall
from cudalint.facts.graph.patterns.triangles import Triangle
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import replace, with_argument
from cudalint.fixes.fusion._write import freed, replaced
from cudalint.model import Edit, Finding, Patch, Plan, Refusal, Safety, Span

if TYPE_CHECKING:
    from tree_sitter import Node

_MASK, _CAUSAL = 3, 5


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    call: FusedCall = finding.captures["call"]
    found: Triangle
    found, proven = finding.captures["mask"]
    mask = facts.names.arguments(call.node).get("attn_mask", _MASK)
    if mask is None:
        return Refusal("the mask is not among its arguments")
    if call.given["attn_mask"].op == "input":
        return Refusal("the mask is made by another function")
    place = _place(facts, call, mask)
    exact = proven and (found.keeps or found.outside == float("-inf"))
    safety: Safety = "safe" if exact else "unsafe"
    data = {"place": place, "mask": mask}
    return Plan(safety, "Replace the mask by `is_causal=True`", finding, facts, data)


def _place(facts: PythonFacts, call: FusedCall, mask: Node) -> Consumption:
    """The argument that changes, and the statements that nothing else needs."""
    graph = facts.graphs.of(_function(facts, call))
    statement = facts.names.statement(call.node)
    home = statement.parent
    assert home is not None  # a statement in a function stands in a block
    place = Consumption(statement, _argument(mask), home)
    if statement.type in ("expression_statement", "return_statement") and graph.opaque is None:
        try:
            settle(facts, graph, place, {}, (), ())
        except Kept:
            place = Consumption(statement, _argument(mask), home)  # what made the mask stays
    return place


def _function(facts: PythonFacts, call: FusedCall) -> Node:
    function = facts.names.enclosing(call.node, "function_definition")
    assert function is not None  # graphs are of functions
    return function


def _argument(value: Node) -> Node:
    """The whole argument: with its keyword, where it has one."""
    parent = value.parent
    return parent if parent is not None and parent.type == "keyword_argument" else value


def write(plan: Plan) -> Patch:
    facts, place = plan.facts, plan.data["place"]
    assert isinstance(facts, PythonFacts)
    call: FusedCall = plan.finding.captures["call"]
    given = facts.names.arguments(call.node)
    causal = given.get("is_causal", _CAUSAL)
    positional = plan.data["mask"] in given.positional
    text = "is_causal=True"
    more: tuple[Edit, ...] = ()
    if causal is not None:
        text, more = "None" if positional else "", (replace(causal, "True"),)
    elif positional and len(given.positional) > _MASK + 1:
        text, more = "None", (with_argument(call.node, None, "is_causal", "True"),)
    edits = replaced(facts, place, text) if text else _dropped(facts, place)
    return Patch((*edits, *more), may_free=freed(facts, place))


def _dropped(facts: PythonFacts, place: Consumption) -> tuple[Edit, ...]:
    """The edits without the argument: its comma goes too, and the blanks up to the next one."""
    following = place.expression.next_named_sibling
    *others, _ = replaced(facts, place, "")
    start, end = place.expression.start_byte, place.expression.end_byte
    if following is not None:
        return (*others, Edit(Span(start, following.start_byte), b""))
    before = place.expression.prev_named_sibling
    start = before.end_byte if before is not None else start
    return (*others, Edit(Span(start, end), b""))
