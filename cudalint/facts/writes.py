"""Writes: where code changes what a name holds in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_CHANGES = frozenset({"append", "extend", "insert", "pop", "clear", "update", "sort", "reverse"})
_FLAGS = frozenset({"requires_grad_", "retain_grad", "pin_memory_", "share_memory_"})


def writes_in_place(facts: PythonFacts, name: str, holder: Node) -> Iterator[Node]:
    """`x += 1`, `x[i] = y`, `x.add_(y)`, `f(out=x)` of a name inside a node; no plain assignment."""
    for use in facts.identifiers(name, inside=holder):
        if (place := _written(facts, use)) is not None:
            yield place


def _written(facts: PythonFacts, use: Node) -> Node | None:
    top, parent = use, use.parent
    while parent is not None and parent.type in ("attribute", "subscript"):
        if parent.children[0] != top:
            return None
        top, parent = parent, parent.parent
    if parent is None:
        return None
    is_left = parent.child_by_field_name("left") == top
    if parent.type == "augmented_assignment" and is_left:
        return parent
    if parent.type == "assignment" and is_left and top != use:
        return parent
    if parent.type == "call" and top.type == "attribute":
        method = facts.code(top.children[-1])
        in_place = method.endswith("_") and not method.startswith("_") and method not in _FLAGS
        return parent if in_place or (method in _CHANGES and top.children[0] == use) else None
    if parent.type == "keyword_argument" and facts.code(parent.children[0]) == "out":
        return parent
    return None
