"""Softmaxes in Triton kernels: exponentials divided by their own sum, and whether a maximum is off.

Everything here follows definitions and stops at what it does not know: an unknown helper, a
subtraction of anything but a constant, a clamp from above.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.constants import number
from cudalint.facts.triton import Kernel, Operation, Triton
from cudalint.facts.triton_quotients import Quotients

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

EXPONENTIALS = ("exp", "exp2", "fast_expf", "fast_exp2f", "expf", "exp2f")
_SHAPES = {
    *("to", "cast", "reshape", "view", "trans", "permute", "broadcast_to", "expand_dims", "ravel"),
    *("max_contiguous", "multiple_of", "split", "join", "flip"),
}
_READS = {"load", "dot", "dot_scaled"}
_SUMS = ("sum", "reduce_sum")
_FILLS = {"zeros", "full", "zeros_like", "program_id", "arange", "num_programs", "constexpr"}
_BUILTINS = {"builtins.float", "builtins.int", "builtins.min", "builtins.max", "math.sqrt"}
_DEPTH = 60
_BUDGET = 4000  # definitions that are read again and again multiply; too much is unknown

SOURCE, NEUTRAL, KNOWN_NOT = "source", "neutral", "no"


class Softmax(NamedTuple):
    """An exponential, the sum that divides it, and the division."""

    exponential: Operation
    total: Operation
    division: Node
    kernel: Kernel


class Softmaxes:
    """Finds the softmaxes of a file whose exponentials no maximum reaches."""

    def __init__(self, facts: PythonFacts, triton: Triton) -> None:
        self.facts = facts
        self.triton = triton
        self.quotients = Quotients(facts, triton)
        self._busy: set[int] = set()
        self._budget = _BUDGET

    def without_maximum(self) -> Iterator[Softmax]:
        """Every softmax that is proven to take the exponential of what was read as it was read."""
        for kernel in self.triton.kernels:
            if not any(True for _ in self.triton.operations(kernel, *EXPONENTIALS)):
                continue
            seen: set[int] = set()
            for division, numerator, divisor in self.quotients.divisions(kernel):
                found = self._match(kernel, division, numerator, divisor)
                if found is not None and found.exponential.node.id not in seen:
                    seen.add(found.exponential.node.id)
                    yield found

    def _match(
        self, kernel: Kernel, division: Node, numerator: Node, divisor: Node
    ) -> Softmax | None:
        totals = list(self.totals(divisor))
        above = list(self.exponentials(numerator)) if totals else []
        for total in totals:
            inside = list(self.exponentials(total.operands[0])) if total.operands else []
            for one in above:
                if any(self._is_same(one, other) for other in inside) and self._are_bare(
                    [one, *inside]
                ):
                    first = min([one, *inside], key=lambda found: found.node.start_byte)
                    return Softmax(first, total, division, kernel)
        return None

    def _are_bare(self, found: list[Operation]) -> bool:
        self._budget = _BUDGET
        return all(self.bare(one.operands[0]) == SOURCE for one in found if one.operands)

    def _is_same(self, one: Operation, other: Operation) -> bool:
        """One exponential, or two of the same data (read again in a second pass)."""
        if one.node.id == other.node.id:
            return True
        left, right = one.operands[0], other.operands[0]
        return one.name == other.name and self._read(left) == self._read(right) != frozenset()

    def _read(self, node: Node) -> frozenset[str]:
        return frozenset(root for root in self.triton.roots(node) if root.startswith("param:"))

    # -- what a value is made of --------------------------------------------------------------

    def totals(self, node: Node) -> Iterator[Operation]:
        """The sums that a divisor is, plus small numbers, casts and what it is accumulated from."""
        for at in self._linear(self.quotients.reciprocal(node) or node, through_products=False):
            operation = self.triton.operation(at)
            if operation is not None and operation.name in _SUMS:
                yield operation

    def exponentials(self, node: Node) -> Iterator[Operation]:
        """The exponentials that a value is a weighted sum of."""
        for at in self._linear(node, through_products=True):
            operation = self.triton.operation(at)
            if operation is not None and operation.name in EXPONENTIALS:
                yield operation

    def _linear(self, node: Node, through_products: bool) -> Iterator[Node]:
        """The calls that make a value up, through names, casts, choices, sums and products."""
        seen: set[int] = set()
        stack = [node]
        while stack and len(seen) < 500:
            at = stack.pop()
            if at.id in seen:
                continue
            seen.add(at.id)
            if at.type == "identifier":
                stack.extend(self.triton.sources(at))
            elif at.type in ("subscript", "parenthesized_expression"):
                stack.append(at.children[0] if at.type == "subscript" else at.named_children[0])
            elif at.type in ("binary_operator", "augmented_assignment"):
                stack.extend(_operands(at, through_products))
            elif at.type == "call":
                yield at
                stack.extend(self._inside(at, through_products))

    def _inside(self, call: Node, through_products: bool) -> list[Node]:
        operation = self.triton.operation(call)
        if operation is None or not operation.operands:
            return []
        if operation.name in _SHAPES:
            return [operation.operands[0]]
        if operation.name in ("where", "maximum", "fma"):
            return list(operation.operands)
        if through_products and operation.name in (*_SUMS, "dot"):
            return list(operation.operands)
        return []

    # -- whether a maximum is off -------------------------------------------------------------

    def bare(self, node: Node, depth: int = _DEPTH) -> str:
        """SOURCE where a value is read and only scaled, shifted by loads or masked; else why not.

        NEUTRAL is a number that says nothing by itself; KNOWN_NOT has a maximum, a difference or
        something unknown in it.
        """
        self._budget -= 1
        if depth == 0 or self._budget < 0:
            return KNOWN_NOT
        if node.id in self._busy:
            return NEUTRAL
        self._busy.add(node.id)
        try:
            return self._bare(node, depth - 1)
        finally:
            self._busy.discard(node.id)

    def _bare(self, node: Node, depth: int) -> str:
        kind = node.type
        if kind in ("integer", "float", "true", "false", "comparison_operator", "slice"):
            return NEUTRAL
        if kind == "attribute" and self.facts.code(node.children[-1]) == "shape":
            return NEUTRAL
        if kind == "identifier":
            return self._bare_name(node, depth)
        if kind in ("subscript", "parenthesized_expression", "unary_operator"):
            inner = node.named_children[0]
            return self.bare(inner, depth)
        if kind in ("binary_operator", "augmented_assignment"):
            return self._bare_arithmetic(node, depth)
        if kind == "conditional_expression" and len(node.named_children) == 3:
            return _all(self.bare(node.named_children[at], depth) for at in (0, 2))
        if kind == "call":
            return self._bare_call(node, depth)
        return KNOWN_NOT

    def _bare_name(self, name: Node, depth: int) -> str:
        made = []
        for binding in self.facts.flow.reaching(name):
            if binding.kind == "param":
                made.append(self._bare_parameter(name, depth))
            elif binding.kind == "for":
                made.append(NEUTRAL)
            elif binding.kind in ("assign", "walrus") and binding.value is not None:
                made.append(self.bare(binding.value, depth))
            elif binding.kind == "augment":
                made.append(self.bare(binding.statement, depth))
            else:
                made.append(KNOWN_NOT)
        if not made and number(self.facts, name) is None:
            return KNOWN_NOT
        return _all(made)

    def _bare_parameter(self, name: Node, depth: int) -> str:
        """A kernel's own parameter is a number or a pointer; a helper's is what its callers give."""
        kernel = self.triton.kernel_of(name)
        callers = self.triton.callers(kernel) if kernel is not None else []
        if kernel is None:
            return KNOWN_NOT
        if not callers:  # a whole softmax in a helper for other files takes what it is given
            reads = any(True for _ in self.triton.operations(kernel, "load", "program_id"))
            return NEUTRAL if reads else SOURCE
        given = [self.triton.argument(kernel, self.facts.code(name), call) for call in callers]
        return _all(self.bare(at, depth) if at is not None else KNOWN_NOT for at in given)

    def _bare_arithmetic(self, node: Node, depth: int) -> str:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        sign = node.children[1].type.rstrip("=") or node.children[1].type
        if left is None or right is None:
            return KNOWN_NOT
        one, other = self.bare(left, depth), self.bare(right, depth)
        if sign == "-":  # a constant moves nothing; anything else may be the maximum or its like
            constant = number(self.facts, right) is not None
            return one if constant else KNOWN_NOT
        if sign == "/":
            return one if other == NEUTRAL else KNOWN_NOT
        return _all([one, other]) if sign in ("+", "*") else KNOWN_NOT

    def _bare_call(self, call: Node, depth: int) -> str:
        operation = self.triton.operation(call)
        if operation is None:
            return self._bare_helper(call, depth)
        if operation.name in _READS:
            return SOURCE
        if operation.name in _FILLS:
            return NEUTRAL
        if not operation.operands:
            return KNOWN_NOT
        if operation.name in _SHAPES or operation.name in _SUMS:
            return self.bare(operation.operands[0], depth)
        if operation.name == "where" and len(operation.operands) == 3:
            return _all(self.bare(at, depth) for at in operation.operands[1:])
        made = _all(self.bare(at, depth) for at in operation.operands)
        if operation.name in ("maximum", "fma"):  # a floor is no maximum of the row
            return made
        return NEUTRAL if made == NEUTRAL else KNOWN_NOT

    def _bare_helper(self, call: Node, depth: int) -> str:
        """A helper of the file by what it returns; `float("-inf")` is a number."""
        if self.facts.names.callee(call) in _BUILTINS:
            return NEUTRAL
        helper = self.triton.helper(call)
        returned = self.triton.returned(helper) if helper is not None else []
        return self.bare(returned[0], depth) if len(returned) == 1 else KNOWN_NOT


def _all(found: Iterator[str] | list[str]) -> str:
    """Known not if any is, a source if any is, else neutral."""
    made = list(found)
    if KNOWN_NOT in made:
        return KNOWN_NOT
    return SOURCE if SOURCE in made else NEUTRAL


def _operands(node: Node, through_products: bool) -> list[Node]:
    """The operands through which a sum (or a product) passes its parts on."""
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    sign = node.children[1].type.rstrip("=")
    allowed = ("+", "*") if through_products else ("+",)
    if left is None or right is None or sign not in allowed:
        return []
    return [left, right]
