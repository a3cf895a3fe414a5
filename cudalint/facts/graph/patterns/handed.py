"""Masks that a function is given by others of the file: a model makes one, its layers hand it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.triangles import Triangle, triangle, value_of
from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_MANY = 24  # arguments of one name that are followed
_DEEP = 8


def handed_triangle(facts: PythonFacts, function: Node, mask: Value) -> Triangle | None:
    """The causal triangle that every call of the file hands to a parameter; None where one is not.

    Parameters are followed by their names: a function of the file that has one and hands it on is
    passed through, if the file calls it.
    """
    names, at = [str(mask.attrs[0])], 0
    found: list[Triangle] = []
    if not _is_called(facts, function):
        return None
    while at < len(names):
        for node in _given(facts, names[at]):
            host = facts.names.enclosing(node, "function_definition")
            graph = facts.graphs.of(host) if host is not None else None
            value = value_of(facts, graph, node) if graph is not None else None
            if host is None or graph is None or value is None or len(found) > _MANY:
                return None
            arms = [arm for arm in _arms(value) if not is_const(arm, None)]
            if len(arms) == 1 and arms[0].op == "input":
                if not _is_called(facts, host):
                    return None
                name = str(arms[0].attrs[0])
                names += [name] if name not in names else []
                continue
            made = [triangle(facts, graph, arm) for arm in arms]
            if not all(one and (one.keeps or one.adds) and one.rows is one.columns for one in made):
                return None
            found += [one for one in made if one is not None]
        at += 1
    return found[0] if len({one.keeps for one in found}) == 1 else None


def _is_called(facts: PythonFacts, function: Node) -> bool:
    """Whether the file calls a function, or makes an object of the class that it runs for."""
    holder = facts.names.enclosing(function, "class_definition")
    named = (function if holder is None else holder).child_by_field_name("name")
    return named is not None and any(True for _ in facts.calls(facts.code(named)))


def _given(facts: PythonFacts, name: str) -> list[Node]:
    """What calls are given as `name=…`, or as a plain `name` by its place."""
    found = []
    for node in facts.identifiers(name):
        parent = node.parent
        if parent is None:
            continue
        if parent.type == "argument_list":
            found.append(node)
        elif parent.type == "keyword_argument" and parent.children[0] == node:
            value = parent.child_by_field_name("value")
            found += [] if value is None else [value]
    return [node for node in found if not _is_torch(facts, _call(node))]


def _call(argument: Node) -> Node | None:
    parent = argument.parent
    if parent is not None and parent.type == "keyword_argument":
        parent = parent.parent
    return parent.parent if parent is not None else None


def _is_torch(facts: PythonFacts, call: Node | None) -> bool:
    """Whether a call only reads the mask: torch's, a builtin's, or a constructor that keeps it."""
    path = (facts.names.callee(call) or "") if call is not None and call.type == "call" else ""
    return path.startswith(("torch.", "builtins."))


def _arms(value: Value, depth: int = _DEEP) -> list[Value]:
    """The values that a mask may be, whatever the calls that were given it may have done."""
    if depth == 0:
        return [value]
    if value.op == "opaque" and len(value.operands) == 1:
        return _arms(value.operands[0], depth - 1)
    if value.op == "phi":
        arms = [arm for one in value.operands[1:] for arm in _arms(one, depth - 1)]
        return list({arm.id: arm for arm in arms}.values())
    return [value]
