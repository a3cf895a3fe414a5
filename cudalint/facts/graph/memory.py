"""Environments: what names hold, what writing does to all who see the memory, and joins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cudalint.facts.graph.pool import is_scalar
from cudalint.facts.graph.values import Definition, Environment, Slot, Storage, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder

SELF = "self."


def fresh(value: Value) -> Slot:
    """A value in memory of its own."""
    return Slot(value, Storage())


def view(value: Value, base: Slot, key: object = None) -> Slot:
    """A value in memory that may be its base's."""
    return Slot(value, Storage(base.storage, key))


def bind(b: Builder, name: str, slot: Slot, statement: Node | None) -> None:
    """A name (or `self.x`) is assigned."""
    made = Definition(name, statement)
    if name in b.captured:
        made.read(b.captured[name])
    if statement is not None and b.depth == 0:
        b.graph.definitions.setdefault(statement.id, []).append(made)
    b.env[name] = Slot(slot.value, slot.storage, (made,))


def write(b: Builder, target: Slot, value: Value, statement: Node | None) -> Slot:
    """The memory of a slot is overwritten: whoever sees it holds another value from now on."""
    shared = target.storage.visible
    made = Definition("", statement)
    for env in b.frames:
        for name, slot in env.items():
            if not slot.storage.overlaps(target.storage):
                continue
            same = slot.storage is target.storage and slot.value is target.value
            if same and env is b.env:
                made.name = name
                env[name] = Slot(value, slot.storage, (made,))
            else:
                shared = True
                changed = b.pool.opaque("alias", None, slot.value)
                env[name] = Slot(changed, slot.storage, (*slot.definitions, made))
    if statement is not None and b.depth == 0:
        b.graph.definitions.setdefault(statement.id, []).append(made)
    value.shared = value.shared or shared
    return Slot(value, target.storage, (made,))


def may_write(b: Builder, slots: Iterable[Slot], statement: Node | None, reason: str) -> None:
    """Code that is not known gets these: it may write them, and may keep them."""
    for slot in slots:
        if slot.value.op == "const" or is_scalar(slot.value):
            continue
        for inner in b.elements.get(slot.value.id, ()):
            may_write(b, (inner,), statement, reason)
        _taint(b, slot, reason)
        slot.storage.escape()


def _taint(b: Builder, target: Slot, reason: str) -> None:
    storage, roots = target.storage, target.storage.roots
    for env in b.frames:
        for name, slot in env.items():
            if slot.storage.roots.isdisjoint(roots) or slot.value.op == "const":
                continue
            if slot.storage.overlaps(storage):
                changed = b.pool.opaque(reason, None, slot.value)
                changed.shape = slot.value.shape
                env[name] = Slot(changed, slot.storage, slot.definitions)


def forget_self(b: Builder) -> None:
    """`self` was given to code that is not known: every `self.x` is a new load."""
    b.epoch += 1
    for env in b.frames:
        for name in [name for name in env if name.startswith(SELF)]:
            del env[name]


def read(slot: Slot, node: Node) -> None:
    """An identifier reads the bindings that a slot may come from."""
    for definition in slot.definitions:
        definition.read(node)


def join(b: Builder, test: Value, one: Environment | None, two: Environment | None) -> Environment:
    """What names hold after a branch; an arm that left the function holds nothing."""
    if one is None or two is None:
        return one if one is not None else (two if two is not None else {})
    if one is two:
        return one
    joined: Environment = {}
    for name in one.keys() | two.keys() if len(one) != len(two) else one:
        a, c = one.get(name), two.get(name)
        if a is c and a is not None:
            joined[name] = a
        elif a is None or c is None:
            joined[name] = _partly(b, name, test, a, c)
        else:
            joined[name] = _either(b, test, a, c)
    for name in two.keys() - joined.keys():
        joined[name] = _partly(b, name, test, None, two[name])
    return joined


def _either(b: Builder, test: Value, a: Slot, c: Slot) -> Slot:
    definitions = a.definitions
    if c.definitions != definitions:
        definitions = tuple(dict.fromkeys((*definitions, *c.definitions)))
    storage = a.storage if a.storage is c.storage else Storage(joined=(a.storage, c.storage))
    if a.value is c.value:
        return Slot(a.value, storage, definitions)
    return Slot(phi(b, test, a.value, c.value), storage, definitions)


def _partly(b: Builder, name: str, test: Value, a: Slot | None, c: Slot | None) -> Slot:
    """A name that one arm alone binds; for `self.x` the other arm holds the attribute as it was."""
    if name.startswith(SELF):
        value = b.pool.make("self", (), (name[len(SELF) :], b.epoch))
        other = Slot(value, Storage(external=True))
        known = a or c
        if known is not None and known.value is value:
            return known
    else:
        other = Slot(b.pool.make("unbound"), Storage())
    return _either(b, test, a or other, c or other)


def phi(b: Builder, test: Value, a: Value, c: Value, node: Node | None = None) -> Value:
    """One of two values, by a test; a negated test swaps them."""
    if a is c:
        return a
    if test.op == "not":
        return phi(b, test.operands[0], c, a, node)
    if test.op == "is_none" and _is_part(test.operands[0]):
        return c
    made = b.pool.make("phi", (test, a, c), (), node)
    if made.shape is None and a.shape is not None and a.rank == c.rank:
        pairs = zip(a.shape, c.shape or (), strict=True)
        made.shape = tuple([x if x is y else None for x, y in pairs])
    return made


def _is_part(value: Value) -> bool:
    """Whether a value is a part of a tensor that was taken apart, and so never None."""
    return value.op == "index" and value.operands[0].op in ("chunk", "split", "unbind")


def blur(b: Builder, names: Iterable[str], reason: str, node: Node) -> None:
    """These names hold something unknown from here (the head of a loop, a handler)."""
    for name in names:
        slot = b.env.get(name)
        if slot is not None:
            value = b.pool.opaque(reason, node, slot.value)
            value.shape = None
            b.env[name] = Slot(value, slot.storage, slot.definitions)
