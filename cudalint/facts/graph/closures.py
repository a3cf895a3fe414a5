"""Code inside expressions: comprehensions, lambdas, `yield` and `await`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.expressions import evaluate, evaluates, generic
from cudalint.facts.graph.memory import SELF, fresh, may_write
from cudalint.facts.graph.values import Slot, Use

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


@evaluates(
    "list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"
)
def _comprehension(b: Builder, node: Node) -> Slot:
    body = node.child_by_field_name("body")
    clauses = [child for child in node.named_children if child.type == "for_in_clause"]
    if body is None or not clauses:
        return generic(b, node)
    sources = [evaluate(b, right) for c in clauses if (right := c.child_by_field_name("right"))]
    mapped = _mapped(b, node, body, clauses, sources)
    if mapped is not None:
        return mapped
    before = dict(b.env)
    for clause in clauses:
        left = clause.child_by_field_name("left")
        if left is not None:
            b.assign(left, fresh(b.pool.opaque("loop", left)), None)
    rest = [child for child in node.named_children if child.type == "if_clause"]
    parts = [evaluate(b, part).value for part in (body, *rest)]
    _restore(b, before)
    operands = (*(slot.value for slot in sources), *parts)
    return fresh(b.pool.make("unknown", operands, (node.type,), node, unique=True))


def _mapped(
    b: Builder, node: Node, body: Node, clauses: list[Node], sources: list[Slot]
) -> Slot | None:
    """`[f(x) for x in (q, k, v)]`, item by item."""
    if len(sources) != 1 or node.type not in ("list_comprehension", "generator_expression"):
        return None
    known = b.elements.get(sources[0].value.id)
    left = clauses[0].child_by_field_name("left")
    plain = all(child.type != "if_clause" for child in node.named_children)
    if known is None or left is None or not plain or len(known) > 16:
        return None
    before = dict(b.env)
    found = []
    for slot in known:
        b.assign(left, slot, None)
        found.append(evaluate(b, body))
    _restore(b, before)
    return b.tuple_of(found, node)


def _restore(b: Builder, before: dict[str, Slot]) -> None:
    """Forget the targets of a comprehension; what it wrote stays written."""
    for name in [name for name in b.env if name not in before]:
        if not name.startswith(SELF):
            del b.env[name]
    for name, slot in before.items():
        now = b.env.get(name)
        if now is None or now.storage is not slot.storage:
            b.env[name] = slot


@evaluates("lambda")
def _lambda(b: Builder, node: Node) -> Slot:
    b.capture(node)
    return fresh(b.pool.make("function", (), (node.id,), node))


@evaluates("yield")
def _yield(b: Builder, node: Node) -> Slot:
    for child in node.named_children:
        slot = evaluate(b, child)
        slot.value.uses.append(Use("return", None, node))
        slot.storage.escape()
    may_write(b, [slot for slot in b.env.values() if slot.storage.visible], None, "yield")
    return fresh(b.pool.opaque("yield", node))


@evaluates("await")
def _await(b: Builder, node: Node) -> Slot:
    slots = [evaluate(b, child) for child in node.named_children]
    may_write(b, slots, None, "await")
    return fresh(b.pool.opaque("await", node))
