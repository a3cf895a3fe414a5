"""Calls of `nn.MultiheadAttention`, and what becomes of the weights that they return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.parameters import parameters
from cudalint.facts.graph.pool import constant
from cudalint.facts.graph.values import Graph, Value
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

WORD = b"MultiheadAttention"
_NAMES = (
    *("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"),
    *("average_attn_weights", "is_causal"),
)


@record(eq=False)
class ModuleCall:
    """One call; `dropout`: the module may drop weights while it trains."""

    node: Node
    dropout: bool


def unused_weights(facts: PythonFacts, graph: Graph) -> Iterator[ModuleCall]:
    """The calls that ask for weights by saying nothing, and whose weights nothing reads."""
    if graph.opaque is not None:
        return
    for value in graph.of("module"):
        node = value.node
        if value.attrs[0] != "MultiheadAttention" or node is None or node.type != "call":
            continue
        if value.body != graph.function or node.has_error or facts.names.arguments(node).open:
            continue
        given = parameters(value, _NAMES, attrs=2)
        silent = given is not None and not given.keys() & {"need_weights", "average_attn_weights"}
        if silent and _is_dropped(graph, value):
            yield ModuleCall(node, _drops(facts, graph, str(value.attrs[1])))


def _is_dropped(graph: Graph, value: Value) -> bool:
    """Whether only the first of the two results is ever taken."""
    uses = value.uses
    for use in uses:
        user = use.user
        if user is None or user.op != "index" or user.operands[0] is not value:
            return False
        at = constant(user.operands[1]) if len(user.operands) == 2 else None
        if at != 0 and (at not in (1, -1) or graph.is_read(user)):
            return False
    return bool(uses)


def _drops(facts: PythonFacts, graph: Graph, path: str) -> bool:
    holder = facts.graphs.classes.of(graph.function)
    if holder is None:
        return True
    modules = facts.graphs.classes.module(holder, path.removeprefix("self."))
    if not modules:
        return True
    arguments = facts.names.arguments(modules[0].call)
    given = arguments.get("dropout", 2)
    return arguments.open or (given is not None and facts.code(given) not in ("0", "0.0", "0."))
