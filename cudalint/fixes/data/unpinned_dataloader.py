"""Writes `pin_memory=True`, or `torch.cuda.is_available()` where CUDA may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import within
from cudalint.facts.python import PythonFacts
from cudalint.facts.respell import with_argument
from cudalint.model import Finding, Need, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that the argument can be written at this call alone."""
    call: Node = finding.captures["call"]
    value: Node | None = finding.captures["value"]
    if call.has_error:
        return Refusal("the call has a syntax error")
    if value is not None and not within(value, call):
        return Refusal("`pin_memory` stands in a dict that other calls may share")
    needs: frozenset[Need] = frozenset()
    text = "True"
    if not facts.devices.is_unconditional:
        spelling, need = facts.names.need("torch")
        found = facts.names.lookup_name(spelling, facts.names.scope(call))
        if found is not None and found[0] is not facts.names.module:
            return Refusal("a local name hides `torch`")
        text, needs = f"{spelling}.cuda.is_available()", frozenset({need})
    title = f"{'Add' if value is None else 'Write'} `pin_memory={text}`"
    return Plan("safe", title, finding, facts, {"text": text, "needs": needs})


def write(plan: Plan) -> Patch:
    """Replace the false value, or append the argument."""
    call: Node = plan.finding.captures["call"]
    value: Node | None = plan.finding.captures["value"]
    text: str = plan.data["text"]
    return Patch((with_argument(call, value, "pin_memory", text),), plan.data["needs"])
