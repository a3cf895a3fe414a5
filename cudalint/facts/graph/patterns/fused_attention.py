"""Calls of `scaled_dot_product_attention`, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.parameters import parameters
from cudalint.facts.graph.patterns.triangles import Triangle, triangle
from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Graph, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

NAMES = (
    *("query", "key", "value", "attn_mask", "dropout_p", "is_causal"),
    *("scale", "enable_gqa"),
)
WORD = b"scaled_dot_product_attention"


@dataclass(eq=False)
class FusedCall:
    """One call that stands in the function itself; `given` has no explicit None."""

    value: Value
    node: Node
    given: dict[str, Value]


def fused_calls(facts: PythonFacts, graph: Graph) -> Iterator[FusedCall]:
    """The calls of torch's fused attention whose arguments are all in sight."""
    for value in graph.of("torch.scaled_dot_product_attention"):
        node = value.node
        if node is None or node.type != "call" or value.body != graph.function or node.has_error:
            continue
        given = parameters(value, NAMES)
        if given is not None and not facts.names.arguments(node).open:
            yield FusedCall(value, node, given)


def causal_mask(facts: PythonFacts, graph: Graph, call: FusedCall) -> Triangle | None:
    """The mask of a call, where it is the causal triangle of as many queries as keys.

    A mask of n rows and n columns fits n keys and no other number of queries than n. (Where n is
    1, the one key is all there is to see.)
    """
    mask, key = call.given.get("attn_mask"), call.given.get("key")
    causal = call.given.get("is_causal")
    if mask is None or key is None or (causal is not None and not is_const(causal, False)):
        return None
    found = triangle(facts, graph, mask)
    if found is None or not (found.keeps or found.adds):
        return None
    square = found.rows is found.columns
    return found if square and _is_length(found.rows, key) else None


def _is_length(size: Value | None, key: Value) -> bool:
    """Whether a size is the number of keys: the dim before the last, of four where it is `[2]`."""
    if size is None:
        return False
    if key.shape is not None and len(key.shape) >= 2:
        return size is key.shape[-2]
    return size.op == "size" and size.operands[0] is key and size.attrs in ((-2,), (2,))
