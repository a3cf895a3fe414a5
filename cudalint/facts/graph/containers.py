"""Tuples, unpacking and indexing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import layout
from cudalint.facts.graph.expressions import evaluate, evaluates, generic
from cudalint.facts.graph.memory import fresh, view
from cudalint.facts.graph.pool import constant, is_number
from cudalint.facts.graph.values import Slot, Value
from cudalint.facts.graph.views import size_of

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


@evaluates("tuple", "list", "expression_list")
def _tuple(b: Builder, node: Node) -> Slot:
    slots = []
    for child in node.named_children:
        if child.type == "list_splat":
            inner = evaluate(b, child.named_children[0])
            slots.extend(spread(b, inner, child))
        elif child.type != "comment":
            slots.append(evaluate(b, child))
    return b.tuple_of(slots, node)


def spread(b: Builder, slot: Slot, node: Node) -> list[Slot]:
    """The items of `*slot`; one `star` value where they are not known."""
    known = b.elements.get(slot.value.id)
    if known is not None:
        return known
    return [view(b.pool.make("star", (slot.value,), (), node), slot)]


def items(b: Builder, slot: Slot, count: int, node: Node | None) -> list[Slot]:
    """What unpacking to `count` targets gives."""
    known, value = b.elements.get(slot.value.id), slot.value
    if known is not None and len(known) == count:
        return known
    if value.op == "shape":
        base = value.operands[0]
        layout.assume_rank(base, count)
        sizes = [b.pool.const(at - count) for at in range(count)]
        return [fresh(size_of(b, base, size, node)) for size in sizes]
    disjoint = value.op in ("chunk", "split", "unbind", "index", "permute", "view", "shape_part")
    return [view(_item(b, value, at, node), slot, at if disjoint else None) for at in range(count)]


def _item(b: Builder, value: Value, at: int, node: Node | None) -> Value:
    made = b.pool.make("index", (value, b.pool.const(at)), (), node)
    if made.shape is None and value.shape is not None and value.op not in ("chunk", "split"):
        made.shape = value.shape[1:]
    return made


@evaluates("subscript")
def _subscript(b: Builder, node: Node) -> Slot:
    owner = node.child_by_field_name("value")
    if owner is None:
        return generic(b, node)
    base = evaluate(b, owner)
    indices = indices_of(b, node)
    value = base.value
    if value.op == "shape" and len(indices) == 1:
        if is_number(indices[0]):
            return fresh(size_of(b, value.operands[0], indices[0], node))
        return fresh(b.pool.make("shape_part", (value, indices[0]), (), node))
    known = b.elements.get(value.id)
    if known is not None and len(indices) == 1 and is_number(indices[0]):
        at = indices[0].attrs[1]
        if isinstance(at, int) and -len(known) <= at < len(known):
            return known[at]
    made = b.pool.make("index", (value, *indices), (), node)
    if made.shape is None:
        made.shape = layout.index_shape(value, indices)
    key = constant(indices[0]) if len(indices) == 1 and is_number(indices[0]) else None
    return view(made, base, key)


def indices_of(b: Builder, node: Node) -> list[Value]:
    found = []
    for child in node.children_by_field_name("subscript"):
        if child.type == "slice":
            found.append(_slice(b, child))
        elif child.type == "tuple":
            found.extend(slot.value for slot in b.elements[_tuple(b, child).value.id])
        else:
            found.append(evaluate(b, child).value)
    return found


def _slice(b: Builder, node: Node) -> Value:
    parts: list[Value] = [b.pool.const(None)] * 3
    at = 0
    for child in node.children:
        if child.type == ":":
            at += 1
        elif child.is_named and child.type != "comment" and at < 3:
            parts[at] = evaluate(b, child).value
    return b.pool.make("slice", tuple(parts), (), node)
