"""What all calls share: their arguments, and what may happen in those that are not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import expressions as ex
from cudalint.facts.graph.containers import spread
from cudalint.facts.graph.memory import forget_self, may_write
from cudalint.facts.graph.values import Slot, Storage

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


def arguments(b: Builder, node: Node) -> tuple[list[Slot], dict[str, Slot]]:
    """The evaluated arguments of a call, in the order in which they are written."""
    slots: list[Slot] = []
    keywords: dict[str, Slot] = {}
    given = node.child_by_field_name("arguments")
    if given is not None and given.type == "generator_expression":
        return [ex.evaluate(b, given)], {}
    for child in given.named_children if given is not None else ():
        if child.type == "keyword_argument":
            name, value = child.child_by_field_name("name"), child.child_by_field_name("value")
            if name is not None and value is not None:
                keywords[b.facts.code(name)] = ex.evaluate(b, value)
        elif child.type == "list_splat":
            inner = ex.evaluate(b, child.named_children[0])
            slots.extend(spread(b, inner, child))
        elif child.type == "dictionary_splat":
            keywords["**"] = ex.evaluate(b, child.named_children[0])
        elif child.type != "comment":
            slots.append(ex.evaluate(b, child))
    return slots, keywords


def unknown(
    b: Builder,
    node: Node,
    targets: list[Slot],
    slots: list[Slot] | None = None,
    keywords: dict[str, Slot] | None = None,
    name: str = "",
) -> Slot:
    """A call of which nothing is known: it may write, and keep, all that it is given."""
    if slots is None:
        slots, keywords = arguments(b, node)
    given = [*slots, *(keywords or {}).values()]
    operands = tuple([slot.value for slot in (*targets, *given)])
    value = b.pool.make("call", operands, (name, *(keywords or ())), node, unique=True)
    if any(slot.value.op == "input" and slot.value.attrs == ("self",) for slot in given):
        forget_self(b)
    may_write(b, [*targets, *given], b.statement, "unknown call")
    return Slot(value, Storage(external=True))
