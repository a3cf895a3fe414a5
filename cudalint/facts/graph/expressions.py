"""Expressions: each becomes a value, evaluated in the order in which Python evaluates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cudalint.facts.graph import layout
from cudalint.facts.graph.memory import SELF, fresh, read, view
from cudalint.facts.graph.pool import constant, is_number
from cudalint.facts.graph.values import Slot, Storage

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


_NUMBERS = {"float", "integer", "unary_operator"}
DEPTH = 80  # brackets in brackets; deeper code is not read


Handler = Callable[["Builder", "Node"], Slot]
_HANDLERS: dict[str, Handler] = {}


def evaluates(*kinds: str) -> Callable[[Handler], Handler]:
    """Register the function that evaluates these kinds of nodes."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            _HANDLERS[kind] = handler
        return handler

    return register


def evaluate(b: Builder, node: Node) -> Slot:
    """The value of an expression, and the memory that it lives in."""
    handler = _HANDLERS.get(node.type)
    if handler is None or b.nesting > DEPTH:
        return generic(b, node)
    b.nesting += 1
    try:
        return handler(b, node)
    finally:
        b.nesting -= 1


def generic(b: Builder, node: Node) -> Slot:
    """An expression that has no meaning here: its parts are used, nothing is known of it."""
    if b.nesting > DEPTH:
        b.give_up("nesting")
        return fresh(b.pool.opaque("nesting", node))
    b.nesting += 1
    parts = [evaluate(b, child).value for child in node.named_children if child.type != "comment"]
    b.nesting -= 1
    return fresh(b.pool.make("unknown", tuple(parts), (node.type,), node, unique=True))


@evaluates("parenthesized_expression")
def _inner(b: Builder, node: Node) -> Slot:
    for child in node.named_children:
        if child.type != "comment":
            return evaluate(b, child)
    return generic(b, node)


_SINGLETONS = {"True": True, "False": False, "None": None}


@evaluates("integer", "float", "true", "false", "none")
def _literal(b: Builder, node: Node) -> Slot:
    text = b.facts.code(node)
    if text in _SINGLETONS:
        return fresh(b.pool.const(_SINGLETONS[text], node))
    try:
        return fresh(b.pool.const(_number(text), node))
    except (ValueError, SyntaxError):
        return fresh(b.pool.make("unknown", (), ("literal", text), node))


def _number(text: str) -> object:
    if text.isdecimal() and (text[0] != "0" or text == "0"):
        return int(text)
    try:
        return float(text) if "." in text or "e" in text else _evaluated(text)
    except ValueError:  # 0x1e, 1.5j
        return _evaluated(text)


def _evaluated(text: str) -> object:
    import ast  # takes as long as ten modules of ours, and few literals need it

    return ast.literal_eval(text)


@evaluates("string")
def _string(b: Builder, node: Node) -> Slot:
    if any(child.type == "interpolation" for child in node.named_children):
        return generic(b, node)
    text = b.facts.code(node)
    plain = text[0] in "\"'" and "\\" not in text and text[:3] not in ('"""', "'''")
    try:
        return fresh(b.pool.const(text[1:-1] if plain else _evaluated(text), node))
    except (ValueError, SyntaxError):
        return fresh(b.pool.make("unknown", (), ("literal", text), node))


@evaluates("ellipsis")
def _ellipsis(b: Builder, node: Node) -> Slot:
    return fresh(b.pool.const(..., node))


@evaluates("identifier")
def _identifier(b: Builder, node: Node) -> Slot:
    name = b.facts.code(node)
    slot = b.env.get(name)
    if slot is not None and name not in b.foreign:
        read(slot, node)
        return slot
    return load_global(b, node, name)


def load_global(b: Builder, node: Node, name: str) -> Slot:
    """A name from outside the function: an import by its path, a number by its value."""
    path = b.facts.names.qualified(node)
    if path is not None:
        return fresh(b.pool.make("global", (), (path,), node))
    found = b.facts.names.lookup(node)
    if found is not None and found[0].kind == "module" and len(found[1]) == 1:
        value = found[1][0].value
        if value is not None and found[1][0].kind == "assign" and value.type in _NUMBERS:
            held = b.scratch(value).value
            if is_number(held):
                return fresh(b.pool.const(constant(held), node))
    made = b.pool.make("global", (), (f".{name}", b.epoch), node)
    return Slot(made, Storage(external=True))


@evaluates("attribute")
def _attribute(b: Builder, node: Node) -> Slot:
    owner = node.child_by_field_name("object")
    field = node.child_by_field_name("attribute")
    if owner is None or field is None:
        return generic(b, node)
    name = b.facts.code(field)
    if owner.type in ("identifier", "attribute") and not b.is_local(owner):
        path = b.facts.names.qualified(node)
        if path is not None:
            return fresh(b.pool.make("global", (), (path,), node))
    if owner.type == "identifier" and b.facts.code(owner) == "self":
        return load_self(b, name, node)
    base = evaluate(b, owner)
    return attribute_of(b, base, name, node)


def load_self(b: Builder, name: str, node: Node | None) -> Slot:
    """`self.x`: what this function put there, or the attribute as it was."""
    key = SELF + name
    slot = b.env.get(key)
    if slot is None:
        value = b.pool.make("self", (), (name, b.epoch), node)
        slot = Slot(value, Storage(external=True))
        for env in b.frames:
            env.setdefault(key, slot)
    elif node is not None:
        read(slot, node)
        if slot.value.node is None:
            slot.value.node = node
    return slot


def attribute_of(b: Builder, base: Slot, name: str, node: Node) -> Slot:
    value = base.value
    if name == "shape":
        return fresh(b.pool.make("shape", (value,), (), node))
    if name in ("dtype", "device"):
        return fresh(b.pool.make(name, (value,), (), node))
    if name == "ndim":
        return fresh(b.pool.make("rank", (value,), (), node))
    if name in ("T", "mT"):
        if name == "T":
            layout.assume_rank(value, 2)
        return view(layout.permute(b.pool, value, layout.MATRIX, node), base)
    if name == "data":
        return view(b.pool.make("detach", (value,), (), node), base)
    elements = b.elements.get(value.id)
    if name in ("values", "indices") and value.op == "pair" and elements is not None:
        return elements[0 if name == "values" else 1]
    if value.op == "finfo":
        return fresh(b.pool.make("finfo", value.operands, (name,), node))
    return view(b.pool.make("attr", (value,), (name,), node), base, name)
