"""Where a computation stands: from its first operation to its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cudalint.model import Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Value


def span_of(result: Value, consumed: Mapping[int, Value], function: Node) -> Span | None:
    """The span of a computation whose result stands in a function's own code; else None.

    What a helper of the file returns is reported in the helper, and not again where it is called.
    """
    node = result.node
    if node is None or result.body != function:
        return None
    places = [v.node.start_byte for v in consumed.values() if v.node and v.body == function]
    return Span(min([node.start_byte, *places]), node.end_byte)
