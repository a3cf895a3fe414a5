"""Operators, comparisons and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.containers import spread
from cudalint.facts.graph.contraction import product
from cudalint.facts.graph.elementwise import negated
from cudalint.facts.graph.expressions import evaluate, evaluates, generic
from cudalint.facts.graph.memory import bind, fresh, phi
from cudalint.facts.graph.pool import broadcast, constant, is_const, is_number
from cudalint.facts.graph.values import Slot, Storage

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder

_SIZES = ("shape", "shape_part")  # `x.shape[:-1] + (n, d)` is as `(*x.shape[:-1], n, d)`


def binary(b: Builder, operator: str, left: Slot, right: Slot, node: Node) -> Slot:
    """`left operator right` in memory of its own."""
    pool, a, c = b.pool, left.value, right.value
    if operator == "@":
        return fresh(product(pool, a, c, node))
    if operator == "+" and all(v.id in b.elements or v.op in _SIZES for v in (a, c)):
        return b.tuple_of([*spread(b, left, node), *spread(b, right, node)], node)
    simple = {"+": pool.add, "-": pool.subtract, "*": pool.mul, "/": pool.divide, "**": pool.raised}
    if operator in simple:
        return fresh(simple[operator](a, c, node))
    names = {"//": "floordiv", "%": "mod", "&": "and", "|": "or"}
    op = names.get(operator)
    if op == "floordiv" and is_number(a) and is_number(c) and constant(c) != 0:
        return fresh(pool.const(a.attrs[1] // c.attrs[1], node))
    if op is None:
        return fresh(pool.make("unknown", (a, c), (operator,), node))
    return fresh(broadcast(pool.make(op, (a, c), (), node)))


@evaluates("binary_operator")
def _binary(b: Builder, node: Node) -> Slot:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    operator = node.child_by_field_name("operator")
    if left is None or right is None or operator is None:
        return generic(b, node)
    one = evaluate(b, left)
    return binary(b, operator.type, one, evaluate(b, right), node)


@evaluates("unary_operator")
def _unary(b: Builder, node: Node) -> Slot:
    argument = node.child_by_field_name("argument")
    operator = node.child_by_field_name("operator")
    if argument is None or operator is None:
        return generic(b, node)
    slot = evaluate(b, argument)
    if operator.type == "-":
        return fresh(b.pool.negative(slot.value, node))
    if operator.type == "~":
        return fresh(negated(b, slot.value, node))
    return slot


@evaluates("not_operator")
def _not(b: Builder, node: Node) -> Slot:
    argument = node.child_by_field_name("argument")
    if argument is None:
        return generic(b, node)
    return fresh(negated(b, evaluate(b, argument).value, node))


@evaluates("boolean_operator")
def _boolean(b: Builder, node: Node) -> Slot:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    operator = node.child_by_field_name("operator")
    if left is None or right is None or operator is None:
        return generic(b, node)
    one, two = evaluate(b, left), evaluate(b, right)
    op = "both" if operator.type == "and" else "any_of"
    made = b.pool.make(op, (one.value, two.value), (), node)
    return Slot(made, Storage(joined=(one.storage, two.storage)))


_COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"}


@evaluates("comparison_operator")
def _comparison(b: Builder, node: Node) -> Slot:
    parts = [child for child in node.named_children if child.type != "comment"]
    values = [evaluate(b, part).value for part in parts]
    operators = [child.type for child in node.children if not child.is_named]
    if len(values) != 2 or len(operators) != 1:
        return fresh(b.pool.make("unknown", tuple(values), ("comparison",), node))
    operator = operators[0]
    if operator in ("is", "is not") and is_const(values[1], None):
        made = b.pool.make("is_none", (values[0],), (), node if operator == "is" else None)
        return fresh(made if operator == "is" else negated(b, made, node))
    op = _COMPARISONS.get(operator)
    if op is None:
        return fresh(b.pool.make("compare", tuple(values), (operator,), node))
    return fresh(broadcast(b.pool.make(op, tuple(values), (), node)))


@evaluates("conditional_expression")
def _conditional(b: Builder, node: Node) -> Slot:
    parts = [child for child in node.named_children if child.type != "comment"]
    if len(parts) != 3:
        return generic(b, node)
    test = evaluate(b, parts[1]).value
    one, two = evaluate(b, parts[0]), evaluate(b, parts[2])
    made = phi(b, test, one.value, two.value, node)
    return Slot(made, Storage(joined=(one.storage, two.storage)))


@evaluates("named_expression")
def _walrus(b: Builder, node: Node) -> Slot:
    name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
    if name is None or value is None:
        return generic(b, node)
    slot = evaluate(b, value)
    bind(b, b.facts.code(name), slot, b.statement)
    return slot
