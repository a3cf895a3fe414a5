"""Calls of `scaled_dot_product_attention`, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.handed import handed_triangle
from cudalint.facts.graph.patterns.lengths import positions
from cudalint.facts.graph.patterns.parameters import parameters
from cudalint.facts.graph.patterns.triangles import Triangle, triangle
from cudalint.facts.graph.pool import constant, is_const
from cudalint.facts.graph.values import Graph, Value
from cudalint.lazy import lazy_compile
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

NAMES = (
    *("query", "key", "value", "attn_mask", "dropout_p", "is_causal"),
    *("scale", "enable_gqa"),
)
WORD = b"scaled_dot_product_attention"
CALL = lazy_compile(WORD + rb"(?<!def %b)\(" % WORD)


@record(eq=False)
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


def causal_mask(facts: PythonFacts, graph: Graph, call: FusedCall) -> tuple[Triangle, bool] | None:
    """The mask of a call, where it is the causal triangle of as many queries as keys.

    A mask of n rows and n columns fits n keys and no other number of queries than n. (Where n is
    1, the one key is all there is to see.) So one that other functions hand over needs no length.
    The second part tells whether the number of keys is proven, or only followed through a rotary
    embedding, or left to the shape of the mask.
    """
    mask, key = call.given.get("attn_mask"), call.given.get("key")
    causal = call.given.get("is_causal")
    if mask is None or key is None or (causal is not None and not is_const(causal, False)):
        return None
    if mask.op == "input":
        found = handed_triangle(facts, graph.function, mask)
        return None if found is None else (found, False)
    found = triangle(facts, graph, mask)
    if found is None or not (found.keeps or found.adds) or found.rows is not found.columns:
        return None
    key = _ungrouped(key)
    length, proven = positions(key)
    size = found.rows
    if size is None or not (_is_same(size, length) or _is_length(size, key)):
        return None
    return found, proven or _is_length(size, key)


def _ungrouped(key: Value) -> Value:
    """The keys before their heads were repeated, which leaves their number as it is."""
    while True:
        inner = key
        if key.op == "phi" and any(arm.op == "torch.repeat_interleave" for arm in key.operands[1:]):
            inner = next(arm for arm in key.operands[1:] if arm.op == "torch.repeat_interleave")
        if inner.op != "torch.repeat_interleave":
            return key
        given = parameters(inner, ("input", "repeats", "dim"))
        if given is None or constant(given.get("dim")) not in (1, -3):
            return key
        key = inner.operands[0]


def _is_same(size: Value, length: Value | None) -> bool:
    """Whether two sizes are one: `x.size(1)` was asked for before the rank of x was seen."""
    if length is None or size is length:
        return size is length
    asked = size.op == length.op == "size" and size.operands[0] is length.operands[0]
    rank = size.operands[0].rank if asked else None
    if rank is None or len(size.operands) != 1 or len(length.operands) != 1:
        return False
    return bool(size.attrs[0] % rank == length.attrs[0] % rank)


def _is_length(size: Value, key: Value) -> bool:
    """`k.size(-2)`, or `k.size(2)` of the usual four dims, where nothing says how many it has."""
    asked = size.op == "size" and key.shape is None and size.operands[0] is key
    return asked and size.attrs in ((-2,), (2,))
