"""The value graphs of one file, with all that a builder must know of expressions and operations."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

# Imported for the expressions and operations that they register.
from cudalint.facts.graph import (  # noqa: F401
    calls,
    closures,
    containers,
    elementwise,
    operators,
    products,
    reductions,
    views,
)
from cudalint.facts.graph.builder import Builder
from cudalint.facts.graph.classes import Classes

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Graph
    from cudalint.facts.python import PythonFacts


class Graphs:
    """The value graphs of one file, each made when first asked for."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._known: dict[int, Graph] = {}

    @cached_property
    def classes(self) -> Classes:
        return Classes(self.facts)

    def of(self, function: Node) -> Graph:
        """The graph of a function definition."""
        known = self._known.get(function.id)
        if known is None:
            known = Builder(self.facts, self.classes, function).build()
            self._known[function.id] = known
        return known
