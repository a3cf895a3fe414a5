"""Names by syntax: what a loop may change, what a closure reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_BINDING = {
    "assignment": "left",
    "augmented_assignment": "left",
    "for_statement": "left",
    "named_expression": "name",
    "as_pattern": "alias",
}


def assigned_names(facts: PythonFacts, holder: Node) -> set[str]:
    """The names, `self.x` among them, that code assigns, deletes or changes in place."""
    found: set[str] = set()
    stack = [holder]
    while stack:
        node = stack.pop()
        kind = node.type
        if kind in _BINDING:
            target = node.child_by_field_name(_BINDING[kind])
            if target is not None:
                _targets(facts, target, found)
        elif kind == "call":
            _in_place(facts, node, found)
        elif kind == "delete_statement":
            for child in node.named_children:
                _targets(facts, child, found)
        elif kind in ("function_definition", "class_definition"):
            continue
        stack.extend(node.named_children)
    return found


def _targets(facts: PythonFacts, target: Node, found: set[str]) -> None:
    stack = [target]
    while stack:
        node = stack.pop()
        if node.type == "identifier":
            found.add(facts.code(node))
        elif node.type == "attribute":
            found.add(facts.code(node))
            stack.extend(node.named_children[:1] if not _is_self(facts, node) else [])
        elif node.type == "subscript":
            stack.extend(node.named_children[:1])
        else:
            stack.extend(node.named_children)


def _is_self(facts: PythonFacts, node: Node) -> bool:
    return facts.code(node).startswith("self.")


def _in_place(facts: PythonFacts, call: Node, found: set[str]) -> None:
    function = call.child_by_field_name("function")
    if function is None or function.type != "attribute":
        return
    field = function.child_by_field_name("attribute")
    if field is not None and facts.code(field).endswith("_"):
        _targets(facts, function.named_children[0], found)


def free_names(facts: PythonFacts, nested: Node) -> Iterator[tuple[str, Node]]:
    """The identifiers that a nested function or class reads and does not bind itself."""
    scope = facts.names.inner(nested)
    bound = {name for name, found in scope.bindings.items() if found[0].kind != "nonlocal"}
    stack = [nested]
    while stack:
        node = stack.pop()
        if node.type == "identifier":
            name = facts.code(node)
            if name not in bound:
                yield name, node
        elif node.type == "attribute":
            stack.append(node.named_children[0])
            continue
        elif node.type == "keyword_argument":
            value = node.child_by_field_name("value")
            if value is not None:
                stack.append(value)
            continue
        stack.extend(node.named_children)
