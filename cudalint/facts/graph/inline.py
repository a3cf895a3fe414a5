"""Small functions of the same file, read in place of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.memory import SELF, bind
from cudalint.facts.graph.values import Environment, Slot

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder

_DEEP = 3
_LARGE = 200  # values that one call may add
_BYTES = 6_000  # of source: what is longer has more values than that
_PLAIN = {b"@staticmethod", b"@torch.no_grad()", b"@classmethod"}


def inline(
    b: Builder, node: Node, function: Node, slots: list[Slot], keywords: dict[str, Slot]
) -> Slot | None:
    """The value of a call of `function`; None where it is not simple enough to be read in place."""
    if not _simple(b, function) or "**" in keywords:
        return None
    if function.type == "lambda":
        names, body = _parameters(b, function), function.child_by_field_name("body")
    else:
        names, body = _parameters(b, function), function.child_by_field_name("body")
        if b"@staticmethod" in _decorators(function) and slots and names[:1] != ["self"]:
            slots = slots[1:] if slots[0].value.attrs == ("self",) else slots
    env = _bound(b, function, names, slots, keywords)
    if env is None or body is None:
        return None
    for key, slot in b.env.items():
        if key.startswith(SELF):
            env[key] = slot
    if b.pool.site is not None:
        return _read(b, function, body, env)
    b.pool.site = node
    try:
        made = _read(b, function, body, env)
    finally:
        b.pool.site = None
    if made is not None:
        b.graph.returned.append((node, made.value))
    return made


def _read(b: Builder, function: Node, body: Node, env: Environment) -> Slot | None:
    outer = (b.env, b.function, b.pool.body, b.statement, b.pool.statement, b.captured)
    before = len(b.graph.values)
    b.env, b.function, b.captured = env, function, {}
    b.pool.body = function
    b.frames.append(env)
    b.active.append(function.id)
    try:
        slot = b.body_value(body, function.type == "lambda")
        inner = b.env
    finally:
        b.frames.pop()
        b.active.pop()
        b.env, b.function, b.pool.body, b.statement, b.pool.statement, b.captured = outer
    if len(b.graph.values) - before > _LARGE:
        return None
    for key in [key for key in b.env if key.startswith(SELF) and key not in inner]:
        del b.env[key]
    for key, held in inner.items():
        if key.startswith(SELF):
            b.env[key] = held
    return slot


def _simple(b: Builder, function: Node) -> bool:
    """Not recursive, not deep, one return at the end, undecorated, no generator."""
    if len(b.active) > _DEEP or function.id in b.active or function.id == b.graph.function.id:
        return False
    if function.end_byte - function.start_byte > _BYTES:
        return False
    if function.type == "lambda":
        return True
    known = b.simple.get(function.id)
    if known is None:
        known = b.simple[function.id] = _one_return(function) and _decorators(function) <= _PLAIN
    return known


def _one_return(function: Node) -> bool:
    body = function.child_by_field_name("body")
    last = [child for child in body.named_children if child.type != "comment"] if body else []
    if body is None or not last or last[-1].type != "return_statement":
        return False
    stack, returns = [body], 0
    while stack:
        node = stack.pop()
        if node.type in ("function_definition", "lambda", "class_definition"):
            continue
        if node.type in ("yield", "await", "try_statement", "raise_statement"):
            return False
        returns += node.type == "return_statement"
        stack.extend(node.named_children)
    return returns == 1


def _decorators(function: Node) -> set[bytes]:
    parent = function.parent
    if parent is None or parent.type != "decorated_definition":
        return set()
    return {child.text or b"" for child in parent.named_children if child.type == "decorator"}


def _parameters(b: Builder, function: Node) -> list[str]:
    names = []
    for child in _given(function):
        name = child if child.type == "identifier" else child.child_by_field_name("name")
        if name is None and child.type == "typed_parameter":
            name = child.named_children[0]
        names.append(b.facts.code(name) if name is not None else "*")
    return names


def _given(function: Node) -> list[Node]:
    given = function.child_by_field_name("parameters")
    children = given.named_children if given is not None else []
    return [child for child in children if child.type != "comment"]


def _bound(
    b: Builder, function: Node, names: list[str], slots: list[Slot], keywords: dict[str, Slot]
) -> Environment | None:
    """The callee's names after the call; None where arguments and parameters do not fit."""
    if any(name.startswith("*") for name in names) or len(slots) > len(names):
        return None
    if any(slot.value.op == "star" for slot in slots) or keywords.keys() - set(names):
        return None
    env: Environment = dict(zip(names, slots, strict=False))
    env.update(keywords)
    for name, child in zip(names, _given(function), strict=True):
        if name in env:
            continue
        default = child.child_by_field_name("value")
        if default is None:
            return None
        env[name] = b.scratch(default)
    return {name: Slot(slot.value, slot.storage) for name, slot in env.items()}


__all__ = ["bind", "inline"]
