"""Rotary embeddings as findings: q and k that are turned alike, side by side, are one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.halves import narrowed
from cudalint.facts.graph.patterns.rotary import turns
from cudalint.facts.graph.patterns.rotary_stages import Stage, Turn
from cudalint.facts.graph.values import Graph, Value
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


@record(eq=False)
class Place:
    """Where a call for both results goes: in a tuple of the two, or in two assignments.

    `node` is what is replaced, `names` what it binds, `first` the assignment that goes.
    """

    node: Node
    names: tuple[str, ...] = ()
    first: Node | None = None


@record(eq=False)
class Option:
    """Results that one call may have, the outermost first; `own`: each is cast to its own dtype."""

    stages: tuple[Stage, ...]
    place: Place | None = None
    own: bool = False


@record(eq=False)
class Rotation:
    """One finding: a tensor that is turned, or two that are turned alike."""

    turns: tuple[Turn, ...]
    options: list[Option]

    @property
    def consumed(self) -> dict[int, Value]:
        return {key: value for turn in self.turns for key, value in turn.consumed.items()}

    @property
    def result(self) -> Value:
        return self.options[0].stages[-1].result


def rotations(facts: PythonFacts, graph: Graph) -> Iterator[Rotation]:
    """The rotations that stand in the graph's own function, and not in what it calls."""
    found = [turn for turn in turns(graph) if turn.result.node is not None]
    found = [turn for turn in found if all(s.result.body == graph.function for s in turn.stages)]
    found.sort(key=lambda turn: turn.result.node.start_byte if turn.result.node else 0)
    while found:
        turn = found.pop(0)
        for other in found:
            options = list(_together(facts, turn, other))
            if options:
                found.remove(other)
                yield Rotation((turn, other), options)
                break
        else:
            options = [Option((s,), _memory(facts, s.result)) for s in reversed(turn.stages)]
            yield Rotation((turn,), options)


def _memory(facts: PythonFacts, value: Value) -> Place | None:
    """The last assignment to parts of a tensor: the call makes the tensor instead."""
    node = value.node if value.op == "index_put" else None
    owner = node.child_by_field_name("value") if node is not None else None
    if node is None or owner is None or owner.type != "identifier" or node.parent is None:
        return None
    return Place(node.parent, (facts.code(owner),)) if node.parent.type == "assignment" else None


def _together(facts: PythonFacts, one: Turn, two: Turn) -> Iterator[Option]:
    """The results of two turns that one call can have."""
    if one.tables.key() != two.tables.key() or one.layout != two.layout:
        return
    for first in reversed(one.stages):
        for second in reversed(two.stages):
            alike = (first.x is one.x) == (second.x is two.x)
            dtypes = _dtypes(one, first, two, second)
            place = _place(facts, first.result, second.result) if alike and dtypes else None
            if place is not None:
                yield Option((first, second), place, dtypes == "own")


def _dtypes(one: Turn, first: Stage, two: Turn, second: Stage) -> str:
    """Whether two results have one dtype, or each its own tensor's; empty: neither."""
    if first.dtype is None or second.dtype is None:
        return "same" if first.dtype is second.dtype else ""
    if first.dtype.operands[1] is second.dtype.operands[1]:
        return "same"
    own = is_own(one, first) and is_own(two, second)
    return "own" if own else ""


def is_own(turn: Turn, stage: Stage) -> bool:
    """Whether a result is cast to the dtype of the tensor that was turned."""
    dtype = stage.dtype.operands[1] if stage.dtype is not None else None
    if dtype is None or dtype.op != "dtype":
        return False
    return narrowed(dtype.operands[0])[0] in (turn.x, stage.x)


def _place(facts: PythonFacts, one: Value, two: Value) -> Place | None:
    nodes = [_outer(value.node) for value in (one, two) if value.node is not None]
    if len(nodes) != 2 or nodes[0].parent is None or nodes[1].parent is None:
        return None
    if nodes[0].parent == nodes[1].parent:
        return _in_tuple(facts, nodes[0].parent, nodes)
    targets = [_target(facts, node) for node in nodes]
    if targets[0] is None or targets[1] is None:
        return None
    first, second = (facts.names.statement(node) for node in nodes)
    if first.parent != second.parent or first.start_byte >= second.start_byte:
        return None
    between = facts.text[first.end_byte : second.start_byte]
    if re.search(rb"\b%s\b" % targets[0].encode(), between):
        return None
    return Place(nodes[1].parent, (targets[0], targets[1]), first)


def _outer(node: Node) -> Node:
    while node.parent is not None and node.parent.type == "parenthesized_expression":
        node = node.parent
    return node


def _in_tuple(facts: PythonFacts, holder: Node, nodes: list[Node]) -> Place | None:
    if holder.type not in ("expression_list", "tuple") or holder.named_children != nodes:
        return None
    parent = _outer(holder).parent
    if parent is None:
        return None
    left = parent.child_by_field_name("left")
    unpacked = left is not None and left.type == "pattern_list" and len(left.named_children) == 2
    return Place(holder) if parent.type == "return_statement" or unpacked else None


def _target(facts: PythonFacts, node: Node) -> str | None:
    """The one name that a plain assignment binds to an expression."""
    parent = node.parent
    if parent is None or parent.type != "assignment" or parent.child_by_field_name("type"):
        return None
    left, holder = parent.child_by_field_name("left"), parent.parent
    if left is None or left.type != "identifier" or parent.child_by_field_name("right") != node:
        return None
    return (
        facts.code(left) if holder is not None and holder.type == "expression_statement" else None
    )
