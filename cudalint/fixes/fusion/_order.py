"""Whether operands that a call is given would be computed in another order than they stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.tables import DRAWING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.render import Renderer
    from cudalint.facts.graph.values import Graph, Value

# What may act, or draw random numbers, when it is computed: its order is kept.
_ACTS = DRAWING | {"call", "module", "unknown", "random", "dropout", "opaque", "index_put"}


def swaps(render: Renderer, first: Value, second: Value) -> bool:
    """Whether `first`, which the call is given first, stands after `second`, and both may act."""
    graph, expression = render.graph, render.expression
    one, two = _place(graph, second), _place(graph, first)
    if one is None or two is None or one.start_byte > two.start_byte:
        return False
    inside = [node.start_byte >= expression.start_byte for node in (one, two)]
    return all(inside) and _acts(graph, one) and _acts(graph, two)


def _place(graph: Graph, value: Value) -> Node | None:
    """The expression of a value in the graph's own function: of a helper's value the call."""
    return value.node if value.body == graph.function else value.site


def _acts(graph: Graph, node: Node) -> bool:
    places = [_place(graph, value) for value in graph.of(*_ACTS)]
    return any(n is not None and node.start_byte <= n.start_byte < node.end_byte for n in places)
