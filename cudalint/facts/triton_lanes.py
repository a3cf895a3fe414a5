"""Masked lanes: whether what a kernel reduces holds minus infinity where nothing was loaded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cudalint.facts.constants import number
from cudalint.facts.triton import Operation, Triton

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

FULL, LOW, UNKNOWN = "full", "low", "unknown"
_ENOUGH = -1e4
_DEPTH = 40
_BUDGET = 4000


class Lanes:
    """FULL: every lane was read; LOW: the others hold a very low number; else UNKNOWN."""

    def __init__(self, facts: PythonFacts, triton: Triton) -> None:
        self.facts = facts
        self.triton = triton
        self._budget = _BUDGET

    def state(self, node: Node, depth: int = _DEPTH) -> str:
        """What the lanes of an expression hold that no load has filled."""
        self._budget -= 1
        if depth == 0 or self._budget < 0:
            return UNKNOWN
        kind = node.type
        if kind in ("integer", "float", "comparison_operator"):
            return FULL
        if kind == "identifier":
            return self._of_name(node, depth - 1)
        if kind in ("subscript", "parenthesized_expression"):
            return self.state(node.named_children[0], depth - 1)
        if kind in ("binary_operator", "augmented_assignment"):
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            if left is None or right is None or self._turns(node, right):
                return UNKNOWN
            return _worst([self.state(left, depth - 1), self.state(right, depth - 1)])
        operation = self.triton.operation(node)
        return self._of(operation, depth - 1) if operation is not None else UNKNOWN

    def _turns(self, node: Node, right: Node) -> bool:
        """Whether an operation may turn a low number into a high one."""
        sign = node.children[1].type.rstrip("=")
        value = number(self.facts, right)
        if sign in ("*", "/"):
            return value is not None and value <= 0
        return sign not in ("+", "-") or (sign == "-" and value is None)

    def _of_name(self, name: Node, depth: int) -> str:
        bindings = self.facts.flow.reaching(name)
        if bindings and all(binding.kind == "param" for binding in bindings):
            return FULL
        sources = list(self.triton.sources(name))
        if not sources or len(sources) != len(bindings):
            return UNKNOWN
        return _worst([self.state(source, depth) for source in sources])

    def _of(self, operation: Operation, depth: int) -> str:
        if operation.name == "load":
            return self._of_load(operation)
        if operation.name == "where" and len(operation.operands) == 3:
            return self._of_choice(operation, depth)
        if operation.name in ("to", "cast", "trans", "reshape", "view"):
            return self.state(operation.operands[0], depth)
        if operation.name in ("zeros", "arange", "program_id", "full"):
            return FULL
        if operation.name == "dot":
            parts = [self.state(operand, depth) for operand in operation.operands[:2]]
            return FULL if parts == [FULL, FULL] else UNKNOWN
        return UNKNOWN

    def _of_load(self, load: Operation) -> str:
        if load.get("mask", 1) is None and "boundary_check" not in load.keywords:
            return FULL
        return LOW if self.is_low(load.get("other", 2)) else UNKNOWN

    def _of_choice(self, choice: Operation, depth: int) -> str:
        """`where(mask, x, -inf)`: low where the mask is off, which must be where x is unknown."""
        condition, chosen, other = choice.operands
        if self.is_low(chosen):
            return LOW if self.state(other, depth) != UNKNOWN else UNKNOWN
        if not self.is_low(other):
            return _worst([self.state(chosen, depth), self.state(other, depth)])
        covered = self.state(chosen, depth) != UNKNOWN or self._covers(condition, chosen)
        return LOW if covered else UNKNOWN

    def _covers(self, condition: Node, chosen: Node) -> bool:
        """Whether a condition names the mask of every load behind a value."""
        masks = self._masks(chosen)
        text = self.facts.code(condition)
        return bool(masks) and all(mask is not None and mask in text for mask in masks)

    def _masks(self, node: Node) -> list[str | None]:
        """The source of the masks of the loads behind a value; None for one that is not known."""
        found: list[str | None] = []
        stack, seen = [node], set[int]()
        while stack and len(seen) < 200:
            at = stack.pop()
            if at.id in seen:
                continue
            seen.add(at.id)
            operation = self.triton.operation(at)
            if operation is not None and operation.name == "load":
                mask = operation.get("mask", 1)
                if mask is not None or "boundary_check" in operation.keywords:
                    found.append(self.facts.code(mask) if mask is not None else None)
            elif operation is not None and operation.name == "dot":
                found.append(None)
            elif at.type == "identifier":
                stack.extend(self.triton.sources(at))
            elif at.type == "call" and operation is None:
                found.append(None)
            else:
                stack.extend(at.named_children)
        return found

    def is_low(self, node: Node | None) -> bool:
        """Minus infinity, or a constant low enough to be one."""
        if node is None:
            return False
        text = self.facts.code(node).replace(" ", "").replace("'", '"')
        if text in ('-float("inf")', 'float("-inf")', "-math.inf", "-torch.inf", "-np.inf"):
            return True
        if node.type == "identifier":
            sources = list(self.triton.sources(node))
            return len(sources) == 1 and self.is_low(sources[0])
        value = number(self.facts, node)
        return value is not None and (value <= _ENOUGH or value == -math.inf)


def _worst(found: list[str]) -> str:
    if UNKNOWN in found:
        return UNKNOWN
    return LOW if LOW in found else FULL
