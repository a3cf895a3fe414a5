"""What a number is, however it is written: `math.sqrt(2 / math.pi)`, `0.79788456`, a constant of the file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cudalint.facts import constants
from cudalint.facts.graph.pool import is_number, number
from cudalint.facts.graph.values import Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.classes import Class
    from cudalint.facts.python import PythonFacts

_NAMED = {
    f"{module}.{name}": getattr(math, name)
    for module in ("math", "numpy", "torch")
    for name in ("pi", "e")
}
_ROOTS = frozenset({"math.sqrt", "numpy.sqrt"})
_DEEP = 12


class Literals:
    """The numbers of one function; `self.x` is what `__init__` computes of literals."""

    def __init__(self, facts: PythonFacts, holder: Class | None) -> None:
        self.facts = facts
        self.holder = holder

    def of(self, value: Value, depth: int = _DEEP) -> float | None:
        """The number that a value certainly is; None where that is not known."""
        if is_number(value):
            return float(number(value))
        if depth == 0:
            return None
        if value.op in ("add", "mul") and len(value.operands) == 2:
            one, two = (self.of(operand, depth - 1) for operand in value.operands)
            if one is None or two is None:
                return None
            return one + two if value.op == "add" else one * two
        if value.op == "pow" and len(value.operands) == 1:
            base = self.of(value.operands[0], depth - 1)
            return _power(base, value.attrs[0])
        tensor = value.op in ("torch.tensor", "torch.as_tensor") and "dtype" not in value.attrs
        if tensor or (value.op == "number" and value.node is None and not value.attrs):
            return self.of(value.operands[0], depth - 1)
        if value.op == "global":
            return self._global(value, depth)
        if value.op == "self" and self.holder is not None:
            node = self.holder.assigned(str(value.attrs[0]))
            return None if node is None else self.written(node, depth - 1)
        return None

    def _global(self, value: Value, depth: int) -> float | None:
        path = str(value.attrs[0])
        if path in _NAMED or value.node is None or value.node.type != "identifier":
            return _NAMED.get(path)
        found = self.facts.names.lookup(value.node)
        if found is None or found[0].kind != "module" or len(found[1]) != 1:
            return None
        node = found[1][0].value if found[1][0].kind == "assign" else None
        return None if node is None else self.written(node, depth - 1)

    def written(self, node: Node, depth: int = _DEEP) -> float | None:
        """The number of an expression of literals, roots and π."""
        plain = constants.number(self.facts, node)
        if plain is not None or depth == 0:
            return plain
        parts = [child for child in node.named_children if child.type != "comment"]
        if node.type == "parenthesized_expression" and parts:
            return self.written(parts[0], depth - 1)
        if node.type in ("attribute", "identifier"):
            return _NAMED.get(self.facts.names.qualified(node) or "")
        if node.type == "call" and self.facts.names.callee(node) in _ROOTS:
            given = self.facts.names.arguments(node).positional
            inner = self.written(given[0], depth - 1) if len(given) == 1 else None
            return _power(inner, 0.5)
        operator = node.child_by_field_name("operator")
        if node.type != "binary_operator" or operator is None or len(parts) != 2:
            return None
        one, two = (self.written(part, depth - 1) for part in parts)
        return None if one is None or two is None else _combined(operator.type, one, two)


def _combined(operator: str, one: float, two: float) -> float | None:
    if operator == "+":
        return one + two
    if operator == "-":
        return one - two
    if operator == "*":
        return one * two
    if operator == "/":
        return one / two if two else None
    return _power(one, two) if operator == "**" else None


def _power(base: float | None, exponent: object) -> float | None:
    if base is None or not isinstance(exponent, int | float) or abs(exponent) > 64:
        return None
    if base <= 0 and not (isinstance(exponent, int) and exponent > 0):
        return None
    return float(base**exponent) if abs(base) < 1e4 else None
