"""Quotients in Triton kernels: `/`, `/=`, `fdiv`, and products with a reciprocal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.constants import number
from cudalint.facts.flow import walk
from cudalint.facts.triton import Kernel, Operation, Triton

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_DIVISIONS = {"fdiv", "div_rn", "fast_dividef"}


class Quotients:
    """The divisions of a file's kernels."""

    def __init__(self, facts: PythonFacts, triton: Triton) -> None:
        self.facts = facts
        self.triton = triton

    def divisions(self, kernel: Kernel) -> Iterator[tuple[Node, Node, Node]]:
        """Every division of a kernel: itself, its numerator and its divisor.

        `e * r` with `r = 1 / s` is one, and its divisor is `r`: the sums of `r` are those of `s`.
        """
        for node in walk(kernel.body):
            if node.type == "binary_operator":
                sign = node.child_by_field_name("operator")
                left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
                if sign is None or left is None or right is None:
                    continue
                if sign.type == "/":
                    yield node, left, right
                elif sign.type == "*":
                    yield from self._by_reciprocal(node, left, right)
            elif node.type == "augmented_assignment":
                yield from self._in_place(node)
            elif (call := self.triton.operation(node)) is not None and _divides(call):
                yield node, call.operands[0], call.operands[1]

    def _in_place(self, node: Node) -> Iterator[tuple[Node, Node, Node]]:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return
        if node.children[1].type == "/=":
            yield node, left, right
        elif node.children[1].type == "*=":
            yield from self._by_reciprocal(node, left, right)

    def _by_reciprocal(
        self, node: Node, left: Node, right: Node
    ) -> Iterator[tuple[Node, Node, Node]]:
        """`e * (1 / s)`, with the reciprocal inline or behind a name."""
        for one, other in ((left, right), (right, left)):
            if self.reciprocal(other) is not None:
                yield node, one, other

    def reciprocal(self, node: Node) -> Node | None:
        """What an expression is one over, through names and subscripts."""
        for _ in range(4):
            if node.type == "parenthesized_expression":
                node = node.named_children[0]
            elif node.type == "subscript":
                node = node.children[0]
            elif node.type == "identifier":
                sources = list(self.triton.sources(node))
                if len(sources) != 1:
                    return None
                node = sources[0]
            else:
                break
        if node.type != "binary_operator" or node.children[1].type != "/":
            return None
        one = number(self.facts, node.child_by_field_name("left"))
        return node.child_by_field_name("right") if one == 1.0 else None


def _divides(call: Operation) -> bool:
    return call.name in _DIVISIONS and len(call.operands) == 2
