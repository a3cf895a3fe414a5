"""Postponing: how a number that is read from the device every step can be read once instead.

Three uses can be: a sum (`total += x.item()`), a list (`losses.append(x.item())`), and a name that
is looked at in throttled code alone (`last = x.item()`). Each proof gives the places to edit, or
says in one clause what is not proven; nothing is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import ancestors
from cudalint.facts.postpone.lists import ListProof
from cudalint.facts.postpone.names import NameProof
from cudalint.facts.postpone.proof import Postponed, adds_to_itself, short
from cudalint.facts.postpone.sums import SumProof

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

__all__ = ["Postponed", "postpone"]


def postpone(facts: PythonFacts, read: Node, operand: Node, cast: str) -> Postponed | str:
    """The proof for one read; `cast` is "item", "float" or "int"; else why there is none."""
    value = facts.tensors.value(operand)
    if value.kind != "tensor" or not value.sure:
        return f"it is not proven that `{short(facts, operand)}` is a tensor"
    statement = facts.names.statement(read)
    inner = statement.named_children[0] if statement.named_children else statement
    if statement.type == "expression_statement":
        if inner.type == "augmented_assignment" or adds_to_itself(facts, inner):
            made = SumProof(facts, read, operand, value, cast).proof(inner)
        elif inner.type == "call" and _is_append(facts, inner, read):
            made = ListProof(facts, read, operand, value, cast).proof(inner)
        elif inner.type == "assignment" and inner.child_by_field_name("right") == read:
            made = NameProof(facts, read, operand, value, cast).proof(inner)
        else:
            made = None
        if made is not None:
            return made
    return _use(facts, read, statement)


def _use(facts: PythonFacts, read: Node, statement: Node) -> str:
    """What needs the number every step, in words."""
    if statement.type == "return_statement":
        return "the number leaves the function"
    for holder in ancestors(read):
        if holder.type in ("comparison_operator", "if_statement", "while_statement"):
            return "the number is tested every step"
        if holder.type == "argument_list" and holder.parent is not None:
            callee = short(facts, holder.parent.children[0])
            return f"`{callee}` is given the number every step"
        if holder == statement:
            break
    return "the number is used every step"


def _is_append(facts: PythonFacts, call: Node, read: Node) -> bool:
    function = call.child_by_field_name("function")
    if function is None or function.type != "attribute":
        return False
    name = facts.code(function.children[-1])
    return name == "append" and facts.names.arguments(call).positional == [read]
