"""Writes `bias=False` into the construction of a convolution."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.flow import ancestors, within
from cudalint.facts.respell import with_argument
from cudalint.lazy import lazy_compile
from cudalint.model import Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_LOADS = lazy_compile(rb"load_url|load_state_dict_from_url|from_pretrained|hub\.load|pretrained\b")


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    """Prove that the file itself does not need the bias."""
    call: Node = finding.captures["call"]
    bias: Node | None = finding.captures["bias"]
    if call.has_error:
        return Refusal("the call has a syntax error")
    if bias is not None and not within(bias, call):
        return Refusal("`bias` stands in a dict that other calls may share")
    if _LOADS.search(facts.text):
        return Refusal("the file loads weights that may hold the bias")
    if (row := _touched(facts)) is not None:
        return Refusal(f"line {row} reads the bias of modules without asking whether there is one")
    return Plan("unsafe", "Write `bias=False`", finding, facts)


def write(plan: Plan) -> Patch:
    """Replace the value, or append the argument."""
    call: Node = plan.finding.captures["call"]
    bias: Node | None = plan.finding.captures["bias"]
    return Patch((with_argument(call, bias, "bias", "False"),))


def _touched(facts: PythonFacts) -> int | None:
    """A row that reads the bias of what may be a convolution, and never asks whether it has one."""
    for node in facts.identifiers("bias"):
        parent = node.parent
        if parent is None or parent.type != "attribute" or parent.children[-1] != node:
            continue
        if _is_of_others(facts, parent) or _is_asked_for(facts, parent):
            continue
        function = facts.names.enclosing(parent, "function_definition")
        text = facts.code(function) if function is not None else "modules()"
        if "onv" in text or "modules()" in text:
            return facts.source.row(node.start_byte) + 1
    return None


def _is_of_others(facts: PythonFacts, read: Node) -> bool:
    """`self.bias`, `self.norm.bias`, or under a condition that speaks of norms or linear layers."""
    owner = facts.code(read.children[0])
    if owner == "self" or re.search(r"norm|bn\d*$|linear|fc", owner, re.IGNORECASE):
        return True
    for holder in ancestors(read):
        if holder.type in ("if_statement", "elif_clause"):
            test = holder.child_by_field_name("condition")
            text = facts.code(test) if test is not None else ""
            return re.search(r"Norm|Linear", text) is not None and "onv" not in text
    return False


def _is_asked_for(facts: PythonFacts, read: Node) -> bool:
    function = facts.names.enclosing(read, "function_definition") or facts.root
    text = re.escape(facts.code(read))
    asked = rf"{text} is (?:not )?None|if {text}\b"
    return re.search(asked, facts.code(function)) is not None
