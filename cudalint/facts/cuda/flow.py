"""Which expressions a value of device code is made of: definitions, followed through names.

Order and paths are left out: a name is made of everything that is ever assigned to it in the
function. Elements and fields count as their array or structure, indices as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.functions import declared
from cudalint.facts.cuda.types import last_name
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.functions import Function


class Definition(NamedTuple):
    """A name is given a value: by `=`, by `+=` and the like, or by a call that may write it."""

    name: str
    operator: str
    value: Node
    node: Node


class Flow:
    """The definitions of one function."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.nodes = list(_below(function.body))

    @cached_property
    def definitions(self) -> dict[str, list[Definition]]:
        """Every definition of each name, in source order."""
        addresses = {one.name for one in self.function.parameters if one.is_pointer}
        addresses |= self.pointers.keys()
        found: dict[str, list[Definition]] = {}
        for node in self.nodes:
            for definition in _defined(node):
                left = definition.node.child_by_field_name("left")
                moves = definition.node.type == "init_declarator" or (
                    left is not None and left.type == "identifier"
                )
                if not (moves and definition.name in addresses):
                    found.setdefault(definition.name, []).append(definition)
        return found

    @cached_property
    def pointers(self) -> dict[str, str]:
        """Names of pointers into an array, with the name of the array."""
        found: dict[str, str] = {}
        for node in self.nodes:
            declarator = node.child_by_field_name("declarator")
            value = node.child_by_field_name("value")
            if node.type != "init_declarator" or declarator is None or value is None:
                continue
            name, _ = declared(declarator)
            if declarator.type in ("pointer_declarator", "reference_declarator"):
                base = next(iter(bases(value)), None)
                if base is not None:
                    found[name] = found.get(base, base)
        return found

    def root(self, name: str) -> str:
        """The array that a pointer points into; any other name itself."""
        return self.pointers.get(name, name)

    def slice(self, node: Node) -> Iterator[Node]:
        """The nodes that a value is made of: the expression, and all definitions behind it."""
        seen: set[str] = set()
        pending: list[Node] = [node]
        while pending:
            for part in values_in(pending.pop()):
                yield part
                if part.type != "identifier":
                    continue
                for name in {text_of(part), self.root(text_of(part))}:
                    if name not in seen:
                        seen.add(name)
                        pending += [one.value for one in self._into(name)]

    def _into(self, name: str) -> Iterator[Definition]:
        """The definitions of a name, and of the pointers into it."""
        yield from self.definitions.get(name, ())
        for pointer, array in self.pointers.items():
            if array == name and pointer != name:
                yield from self.definitions.get(pointer, ())


def _below(node: Node) -> Iterator[Node]:
    """All named nodes under a node, in source order."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(node.named_children)


def values_in(node: Node) -> Iterator[Node]:
    """The nodes of an expression whose value is part of its value: no indices, no callees."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        for child in reversed(node.named_children):
            if child.type == "subscript_argument_list":
                continue
            if node.type == "call_expression" and child == node.child_by_field_name("function"):
                if child.type == "field_expression":
                    stack.append(child)
                continue
            if node.type == "conditional_expression" and child == node.child_by_field_name(
                "condition"
            ):
                continue
            stack.append(child)


def names_in(node: Node) -> set[str]:
    """The names whose values are part of an expression."""
    return {text_of(part) for part in values_in(node) if part.type == "identifier"}


def bases(node: Node) -> Iterator[str]:
    """The names in an address: `x + i * n` first yields `x`."""
    for part in values_in(node):
        if part.type == "identifier":
            yield text_of(part)


def place_name(node: Node | None) -> str:
    """The name whose value an assignment changes: `x` of `x`, `x[i]`, `*x`, `x.y`, `x->y`."""
    while node is not None and node.type != "identifier":
        following = node.child_by_field_name("argument")
        if following is None and node.type == "call_expression":
            following = next(iter(arguments_of(node)), None)  # a macro around a place
        if following is None and node.named_children:
            following = node.named_children[0] if node.type != "field_expression" else None
        node = following
    return text_of(node) if node is not None else ""


_ATOMIC = lazy_compile(r"(?:atomic|gpuAtomic|red_)\w*?(Add|Max)\w*", re.IGNORECASE)


def _defined(node: Node) -> Iterator[Definition]:
    if node.type == "init_declarator":
        declarator = node.child_by_field_name("declarator")
        value = node.child_by_field_name("value")
        name, _ = declared(declarator)
        if name and value is not None:
            yield Definition(name, "=", value, node)
    elif node.type == "assignment_expression":
        name = place_name(node.child_by_field_name("left"))
        value = node.child_by_field_name("right")
        operator = text_of(node.child_by_field_name("operator") or node)
        if name and value is not None:
            yield Definition(name, operator, value, node)
    elif node.type == "call_expression":
        yield from _written(node)


def _written(node: Node) -> Iterator[Definition]:
    """What a call may write through its arguments."""
    arguments = arguments_of(node)
    callee = node.child_by_field_name("function")
    name = last_name(text_of(callee)) if callee is not None else ""
    if (match := _ATOMIC.match(name)) and len(arguments) > 1:
        operator = "+=" if match.group(1).lower() == "add" else "="
        yield Definition(place_name(arguments[0]), operator, arguments[1], node)
        return
    for argument in arguments:
        if argument.type == "pointer_expression" and argument.children[0].type == "&":
            yield Definition(place_name(argument), "call", node, node)


def calls_in(nodes: Iterable[Node]) -> Iterator[tuple[str, Node]]:
    """The calls among nodes, with the last names of their callees."""
    for node in nodes:
        if node.type == "call_expression":
            callee = node.child_by_field_name("function")
            if callee is not None and callee.type == "field_expression":
                callee = callee.child_by_field_name("field")
            if callee is not None:
                yield last_name(text_of(callee)), node
