"""Value graphs: what a function computes, whatever names and spellings it uses for it.

`facts.graphs.of(function)` is a `Graph` of `Value`s: one operation each, spelled one way, with
operands, uses and the source it came from. What builds them is loaded when the first one is asked
for.
"""

from cudalint.facts.graph.values import Definition, Graph, Slot, Storage, Use, Value

__all__ = ["Definition", "Graph", "Slot", "Storage", "Use", "Value"]
