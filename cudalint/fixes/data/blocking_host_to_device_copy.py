"""Writes `non_blocking=True` into a copy of pinned memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import LOOPS, ancestors
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import with_argument
from cudalint.facts.writes import writes_in_place
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that the copy takes the argument and that nothing writes to its source meanwhile."""
    call: Node = finding.captures["call"]
    source: Node = finding.captures["source"]
    if call.has_error:
        return Refusal("the call has a syntax error")
    if finding.captures["collated_elsewhere"]:
        return Refusal(
            "a collate function of another file may make objects whose copy takes no such argument"
        )
    place = _written_later(facts, call, source)
    if place is not None:
        row = facts.source.row(place.start_byte) + 1
        return Refusal(f"the source is changed in place at line {row}, which would race")
    return Plan("safe", "Add `non_blocking=True`", finding, facts)


def write(plan: Plan) -> Patch:
    """Replace the false flag, or append it."""
    call: Node = plan.finding.captures["call"]
    flag: Node | None = plan.finding.captures["flag"]
    return Patch((with_argument(call, flag, "non_blocking", "True"),))


def _written_later(facts: PythonFacts, call: Node, source: Node) -> Node | None:
    """Where the loop (or function) writes to what is copied, before it is bound anew."""
    root = source
    while root.type in ("attribute", "subscript", "call") and root.children:
        root = root.children[0]
    statement = facts.names.statement(call)
    if root.type != "identifier" or _is_rebound(facts, statement, root):
        return None
    kinds = (*LOOPS, "function_definition", "module")
    holder = next((node for node in ancestors(call) if node.type in kinds), None)
    if holder is None:
        return None
    return next(iter(writes_in_place(facts, facts.code(root), holder)), None)


def _is_rebound(facts: PythonFacts, statement: Node, root: Node) -> bool:
    """`x = x.to(device)`: the source has no name any more."""
    found = facts.names.lookup(root)
    return found is not None and any(
        binding.statement.start_byte == statement.start_byte
        and binding.kind in ("assign", "unpack")
        for binding in found[1]
    )
