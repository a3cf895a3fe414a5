"""Literal dimensions of linear layers: where the number that a layer is made with is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.references import references

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

LAYERS = {"torch.nn.Linear"}
DIMS = (("in_features", 0), ("out_features", 1))


class Dim(NamedTuple):
    """A literal, its value, and the layer that takes it."""

    literal: Node
    value: int
    layer: Node


def literal_dims(facts: PythonFacts) -> Iterator[Dim]:
    """Every literal that is a dimension of a linear layer, through names and configuration fields."""
    for reference in references(facts, LAYERS):
        layer = reference.holder
        if reference.role != "call" or layer is None:
            continue
        given = facts.names.arguments(layer)
        for keyword, position in DIMS:
            node = given.get(keyword, position)
            for literal in _literals(facts, node) if node is not None else ():
                yield Dim(literal, int(facts.code(literal).replace("_", ""), 0), layer)


def _literals(facts: PythonFacts, node: Node) -> Iterator[Node]:
    if node.type == "integer":
        yield node
    elif node.type == "identifier":
        bindings = facts.flow.reaching(node)
        values = [
            b.value for b in bindings if b.kind in ("assign", "param") and b.value is not None
        ]
        if len(values) == len(bindings) == 1:
            yield from _integers(values)
    elif node.type == "attribute":
        yield from _fields(facts, facts.code(node.children[-1]))


def _integers(values: list[Node]) -> Iterator[Node]:
    return (value for value in values if value.type == "integer")


def _fields(facts: PythonFacts, name: str) -> Iterator[Node]:
    """What the file gives a field of this name: a class's default, or a keyword of a configuration."""
    for node in facts.identifiers(name):
        parent = node.parent
        if parent is None:
            continue
        if parent.type == "keyword_argument" and parent.child_by_field_name("name") == node:
            if _is_of_configuration(facts, parent):
                yield from _integers(parent.named_children[1:])
        elif _is_field(facts, node, parent) and (right := parent.child_by_field_name("right")):
            yield from _integers([right])


def _is_field(facts: PythonFacts, node: Node, parent: Node) -> bool:
    """`vocab_size: int = 50257` in the body of a class."""
    target = parent.type == "assignment" and parent.child_by_field_name("left") == node
    return target and facts.names.scope(node).kind == "class"


def _is_of_configuration(facts: PythonFacts, keyword: Node) -> bool:
    """Whether a keyword is given to a class of the file, or to one that is called a configuration."""
    call = keyword.parent.parent if keyword.parent is not None else None
    if call is None or call.type != "call":
        return False
    function = call.children[0]
    found = facts.names.definition(function) if function.type == "identifier" else None
    if found is not None and found.type == "class_definition":
        return True
    return facts.code(function).rpartition(".")[2].endswith(("Config", "Args", "Arguments"))
