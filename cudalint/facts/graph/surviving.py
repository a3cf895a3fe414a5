"""What names hold where a statement starts, once the statements that a fix deletes are gone."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from cudalint.facts.graph.values import Environment, Graph, Slot

if TYPE_CHECKING:
    from tree_sitter import Node


def surviving(graph: Graph, statement: Node, gone: Container[int]) -> Environment:
    """The environment before a statement without those of these ids."""
    now = graph.before.get(statement.id, {})
    found = dict(now)
    for name in list(found):
        slot: Slot | None = found[name]
        while slot is not None and (at := _bound_by(graph, slot, name, gone)) is not None:
            then = graph.before.get(at.id, {})
            slot = then.get(name)
            if slot is not None and _is_written(slot, then, now):
                slot = None
        if slot is None:
            del found[name]
        else:
            found[name] = slot
    return found


def _is_written(slot: Slot, then: Environment, now: Environment) -> bool:
    """Whether another name shows that the memory of a slot was written in the meantime."""
    for name, before in then.items():
        after = now.get(name)
        if after is None or after.storage is not before.storage or after.value is before.value:
            continue
        if before.storage.overlaps(slot.storage):
            return True
    return False


def _bound_by(graph: Graph, slot: Slot, name: str, gone: Container[int]) -> Node | None:
    """The first of the statements that bound a slot, if the name goes back to what it held then.

    That is where all of them go, or where one arm of a branch goes and what the other leaves is what
    the name held before the branch.
    """
    places = [(made, made.statement) for made in slot.definitions]
    going = [place for _, place in places if place is not None and place.id in gone]
    if not going:
        return None
    first = min(going, key=lambda node: node.start_byte)
    left = {id(made) for made, place in places if place is None or place.id not in gone}
    earlier = graph.before.get(first.id, {}).get(name)
    if left and (earlier is None or {id(made) for made in earlier.definitions} != left):
        return None
    return first
