"""Norms by hand that are worth a finding: no part of a larger computation, and not there on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.adaptive import adaptive_norms
from cudalint.facts.graph.patterns.candidates import ROOTS, aliases, attributes
from cudalint.facts.graph.patterns.deliberate import (
    FUSED_NORM,
    is_autograd_function,
    is_compiled,
    is_deliberate,
)
from cudalint.facts.graph.patterns.norms import HandNorm
from cudalint.model import Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Graph
    from cudalint.facts.python import PythonFacts

# What a norm cannot be written without, where it stands.
NORM_WORDS = (b"norm(", b"Norm(", *ROOTS)


def norm_attributes(facts: PythonFacts) -> tuple[bytes, ...]:
    """The calls `.NAME(` of norms, of `self` or a block, and what else the file calls torch's."""
    made = (b"Norm", b"norm_", b"norm(")  # `norm_layer(dim)` too
    calls = (name.removeprefix(b"self") for word in made for name in attributes(facts, word))
    return (*calls, *aliases(facts, b"layer_norm", b"rms_norm"))


def norms_by_hand(
    facts: PythonFacts, function: Node, norms: Callable[[Graph], Iterator[HandNorm]]
) -> Iterator[tuple[HandNorm, Span]]:
    """The norms of a function that no adaptive norm consumes, and where each stands."""
    graph = facts.graphs.of(function)
    found = list(norms(graph))
    inner = {one.norm.result.id for one in adaptive_norms(facts, graph)} if found else set()
    for norm in found:
        span = None if norm.result.id in inner else _span(norm, function)
        if span is not None and not is_wanted(facts, norm.first(function), function):
            yield norm, span


def _span(norm: HandNorm, function: Node) -> Span | None:
    """From the first consumed operation to the result, where both stand in this function."""
    node, start = norm.result.node, norm.first(function)
    if start is None:
        return None
    if node is None or norm.result.body != function:
        ends = [v.node.end_byte for v in norm.consumed.values() if v.node and v.body == function]
        return None if norm.result.node is not None else Span(start.start_byte, max(ends))
    return Span(min(start.start_byte, node.start_byte), node.end_byte)


def is_wanted(facts: PythonFacts, node: Node | None, function: Node) -> bool:
    """Whether a norm is part of a fused one, is fused by a compiler, or stands beside a fused one."""
    if node is None or is_autograd_function(facts, function) or is_compiled(facts, function):
        return True
    return is_deliberate(facts, node, FUSED_NORM)
