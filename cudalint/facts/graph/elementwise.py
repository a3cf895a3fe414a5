"""Operations element by element, however they are spelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import tables
from cudalint.facts.graph.memory import fresh
from cudalint.facts.graph.operations import Call, handles
from cudalint.facts.graph.pool import broadcast, constant
from cudalint.facts.graph.values import Slot, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


@handles(*tables.UNARY, "gelu")
def _unary(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    name = tables.SAME.get(call.name, call.name)
    extra = tuple(str(constant(value)) for value in call.values()[1:])
    made = b.pool.make(name, (call.input.value,), extra if name == "gelu" else (), call.node)
    return fresh(broadcast(made))


@handles(*tables.POWERS)
def _power(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    return fresh(b.pool.power(call.input.value, tables.POWERS[call.name], call.node))


@handles("pow", "float_power")
def _pow(b: Builder, call: Call) -> Slot | None:
    base, exponent = call.input, call.get(1, "exponent")
    if base is None or exponent is None:
        return None
    return fresh(b.pool.raised(base.value, exponent, call.node))


@handles("add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "neg")
def _arithmetic(b: Builder, call: Call) -> Slot | None:
    left, right = call.input, call.get(1, "other")
    if left is None:
        return None
    pool, node, a = b.pool, call.node, left.value
    if call.name == "neg":
        return fresh(pool.negative(a, node))
    if right is None or "rounding_mode" in call.keywords:
        return None
    alpha = call.keywords.get("alpha")
    if alpha is not None:
        right = pool.mul(right, alpha.value)
    if call.name == "add":
        return fresh(pool.add(a, right, node))
    if call.name.startswith("sub"):
        return fresh(pool.subtract(a, right, node))
    return fresh((pool.mul if call.name.startswith("mul") else pool.divide)(a, right, node))


@handles(*tables.BINARY)
def _binary(b: Builder, call: Call) -> Slot | None:
    left, right = call.input, call.get(1, "other")
    if left is None or right is None:
        return None
    op = tables.BINARY[call.name]
    return fresh(broadcast(b.pool.make(op, (left.value, right), (), call.node)))


@handles("logical_not", "bitwise_not")
def _not(b: Builder, call: Call) -> Slot | None:
    return None if call.input is None else fresh(negated(b, call.input.value, call.node))


def negated(b: Builder, value: Value, node: Node | None) -> Value:
    """`not x`, `~x`, `logical_not(x)`; twice is none."""
    if value.op == "not":
        return value.operands[0]
    return broadcast(b.pool.make("not", (value,), (), node))


@handles("masked_fill")
def _masked_fill(b: Builder, call: Call) -> Slot | None:
    base, mask, fill = call.input, call.get(1, "mask"), call.get(2, "value")
    if base is None or mask is None or fill is None:
        return None
    made = b.pool.make("masked_fill", (base.value, mask, fill), (), call.node)
    made.shape = made.shape or base.value.shape
    return fresh(made)


@handles("where")
def _where(b: Builder, call: Call) -> Slot | None:
    test, other = call.get(0, "condition"), call.get(2, "other")
    value = call.keywords["input"].value if "input" in call.keywords else call.get(1)
    if test is None or value is None or other is None:
        return None
    return fresh(broadcast(b.pool.make("where", (test, value, other), (), call.node)))


@handles("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    none = b.pool.const(None)
    low = call.get(1, "min") if call.name != "clamp_max" else None
    high = call.get(2, "max") if call.name != "clamp_max" else call.get(1, "max")
    operands = (call.input.value, low or none, high or none)
    made = b.pool.make("clamp", operands, (), call.node)
    made.shape = made.shape or call.input.value.shape
    return fresh(made)
