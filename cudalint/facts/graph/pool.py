"""The pool of values: hash-consing, and arithmetic in its one spelling.

Subtraction is addition of a negative, division multiplication by a power, roots and squares are
powers: so a pattern names one form and meets them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cudalint.facts.graph.values import DRAWS, LIMIT, Graph, Shape, Use, Value

if TYPE_CHECKING:
    from tree_sitter import Node

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "eq", "ne", "and", "or"})
# Python numbers stay Python numbers through these.
ARITHMETIC = frozenset({"add", "mul", "pow", "floordiv", "mod"})
NUMBERS = frozenset({"size", "finfo", "len", "number"})


class TooLarge(Exception):
    """The function has more values than a graph may hold."""


class Pool:
    """Makes the values of one graph; equal operations on equal operands are one value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.statement: Node | None = None
        self.body: Node | None = None
        self.site: Node | None = None  # the outermost call that is being read in place
        self._known: dict[tuple[object, ...], Value] = {}

    def make(
        self,
        op: str,
        operands: tuple[Value, ...] = (),
        attrs: tuple[Any, ...] = (),
        node: Node | None = None,
        unique: bool = False,
    ) -> Value:
        """The value of an operation; `unique` ones are never shared."""
        ids = tuple([operand.id for operand in operands])
        key = (op, tuple(sorted(ids)) if op in COMMUTATIVE else ids, attrs)
        if not unique and op not in DRAWS:
            known = self._known.get(key)
            if known is not None:
                if known.node is None and node is not None:
                    known.node, known.statement, known.body = node, self.statement, self.body
                    known.site = self.site
                return known
        values = self.graph.values
        if len(values) >= LIMIT:
            raise TooLarge
        value = Value(op, operands, attrs, len(values))
        value.node, value.statement, value.body = node, self.statement, self.body
        value.site = self.site
        values.append(value)
        self._known[key] = value
        self.graph.by_op.setdefault(op, []).append(value)
        for operand in operands:
            operand.uses.append(Use("operand", value, node))
        return value

    def const(self, constant: object, node: Node | None = None) -> Value:
        """A literal; `2.0` and `2` are one constant, `True` is another."""
        if isinstance(constant, float) and constant.is_integer() and abs(constant) < 2**53:
            constant = int(constant)
        return self.make("const", (), (type(constant).__name__, constant), node)

    def opaque(self, reason: str, node: Node | None = None, *operands: Value) -> Value:
        """A value of which nothing is known, and why."""
        return self.make("opaque", operands, (reason,), node, unique=True)

    # -- arithmetic -----------------------------------------------------------------------------

    def add(self, a: Value, b: Value, node: Node | None = None) -> Value:
        if is_number(a) and is_number(b):
            return self.const(number(a) + number(b), node)
        return broadcast(self.make("add", (a, b), (), node))

    def mul(self, a: Value, b: Value, node: Node | None = None) -> Value:
        if is_number(a) and is_number(b):
            return self.const(number(a) * number(b), node)
        if a is b:
            return self.power(a, 2, node)
        return broadcast(self.make("mul", (a, b), (), node))

    def negative(self, a: Value, node: Node | None = None) -> Value:
        if is_number(a):
            return self.const(-number(a), node)
        return broadcast(self.make("mul", (a, self.const(-1)), (), node))

    def subtract(self, a: Value, b: Value, node: Node | None = None) -> Value:
        return self.add(a, self.negative(b), node)

    def divide(self, a: Value, b: Value, node: Node | None = None) -> Value:
        if is_number(a) and number(a) == 1:
            return self.power(b, -1, node)
        inverse = self.power(b, -1)
        return broadcast(self.make("mul", (a, inverse), (), node))

    def power(self, a: Value, exponent: float, node: Node | None = None) -> Value:
        if exponent == 1:
            return a
        if a.op == "pow" and len(a.operands) == 1 and a.attrs[0] % 2 != 0:
            return self.power(a.operands[0], a.attrs[0] * exponent, node)
        exponent = int(exponent) if float(exponent).is_integer() else exponent
        return broadcast(self.make("pow", (a,), (exponent,), node))

    def raised(self, a: Value, b: Value, node: Node | None = None) -> Value:
        """`a ** b` for any b."""
        if is_number(b):
            return self.power(a, number(b), node)
        return broadcast(self.make("pow", (a, b), (), node))


def is_number(value: Value) -> bool:
    return value.op == "const" and value.attrs[0] in ("int", "float")


def number(value: Value) -> float:
    """The number of a constant that `is_number`."""
    found: float = value.attrs[1]
    return found


def constant(value: Value | None) -> object:
    """The Python constant that a value is, else the value itself."""
    return value.attrs[1] if value is not None and value.op == "const" else value


def is_const(value: Value | None, wanted: object) -> bool:
    """Whether a value is this very constant (`True` is not 1)."""
    return (
        value is not None
        and value.op == "const"
        and type(value.attrs[1]) is type(wanted)
        and value.attrs[1] == wanted
    )


def broadcast(value: Value) -> Value:
    """Give an element-wise result the shape of its operands, where theirs is known."""
    if value.shape is None:
        value.shape = broadcast_shape([operand for operand in value.operands])
    return value


def broadcast_shape(operands: list[Value]) -> Shape | None:
    """The common shape; numbers have none, and one unknown tensor makes it unknown."""
    shape: Shape | None = None
    for operand in operands:
        if operand.op == "const" or is_scalar(operand) or _is_parameter(operand):
            continue
        if operand.shape is None:
            return None
        shape = operand.shape if shape is None else _broadcast(shape, operand.shape)
    return shape


def _is_parameter(value: Value) -> bool:
    """`self.scale`, `self.temperature.exp()`: parameters widen to what they scale."""
    while len(value.operands) == 1:
        value = value.operands[0]
    return value.op == "self" and value.shape is None


def _broadcast(a: Shape, b: Shape) -> Shape:
    if len(a) < len(b):
        a, b = b, a
    pad = len(a) - len(b)
    return a[:pad] + tuple([_size(x, y) for x, y in zip(a[pad:], b, strict=True)])


def _size(a: Value | None, b: Value | None) -> Value | None:
    if a is b or (b is not None and is_number(b) and number(b) == 1):
        return a
    return b if a is not None and is_number(a) and number(a) == 1 else None


def is_scalar(value: Value) -> bool:
    """Whether a value is provably a Python number."""
    stack, budget = [value], 40
    while stack:
        at = stack.pop()
        budget -= 1
        if at.op in NUMBERS or (at.op == "const" and at.attrs[0] != "NoneType"):
            continue
        if at.op not in ARITHMETIC or budget < 0:
            return False
        stack.extend(at.operands)
    return True
