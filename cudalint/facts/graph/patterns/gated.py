"""Gated activations: `silu(gate) * up` and `gelu(gate) * up`, their operands apart or packed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from cudalint.facts.graph.pool import is_const, is_number, is_scalar, number
from cudalint.facts.graph.values import META, Graph, Use, Value
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

Approximate = Literal["", "none", "tanh"]

# What widens one operand to the other: no gate of the same width.
_WIDENED = frozenset(
    {
        *("unsqueeze", "expand", "sum", "mean", "amax", "amin", "max", "min", "softmax", "norm"),
        *("self", "global", "const", "eq", "ne", "lt", "gt", "le", "ge", "and", "or", "not"),
    }
)
_PASSING = frozenset({"cast", "to_device", "detach", "view", "transpose", "permute"})
_SMALL = lazy_compile(
    r"mask|padding|scale|gamma|beta|temperature|(?:^|_)weights?(?:_|$)", re.IGNORECASE
)


@record(eq=False)
class Gated:
    """One gated activation.

    `kind` is the name of the fused function. `packed` is the tensor whose halves `gate` and `up`
    are, where nothing else takes part of it; `chunk` the operation that made the halves, also where
    something does. `module`: the activation is a submodule's.
    """

    result: Value
    gate: Value
    up: Value
    activation: Value
    kind: Literal["swiglu", "geglu"]
    approximate: Approximate
    chunk: Value | None = None
    packed: Value | None = None
    gate_first: bool = True
    consumed: dict[int, Value] = field(default_factory=dict)
    halves: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)

    @property
    def module(self) -> bool:
        return self.activation.module


def gated_activations(graph: Graph) -> Iterator[Gated]:
    """The gated activations of a graph."""
    for activation in graph.of("silu", "gelu"):
        form = _form(activation)
        product = _product(graph, activation)
        if form is None or product is None:
            continue
        one, two = product.operands
        up = two if one is activation else one
        if up.op in ("silu", "gelu") or _is_other_rank(activation, up) or _names_small(product):
            continue
        if _modulates(up) or _is_widened(up) or _is_widened(activation.operands[0]):
            continue
        kind, approximate = form
        found = Gated(product, activation.operands[0], up, activation, kind, approximate)
        found.consumed = {product.id: product, activation.id: activation}
        found.reads = [use for use in graph.uses(activation) if use.user and use.user.op in META]
        _pack(graph, found)
        yield found


def _form(activation: Value) -> tuple[Literal["swiglu", "geglu"], Approximate] | None:
    if activation.op == "silu":
        return "swiglu", ""
    if activation.attrs in ((), ("none",)):
        return "geglu", "none"
    return ("geglu", "tanh") if activation.attrs == ("tanh",) else None


def _product(graph: Graph, activation: Value) -> Value | None:
    """The product that alone takes the activation's elements."""
    users = [use.user for use in graph.uses(activation) if not (use.user and use.user.op in META)]
    distinct = {id(user): user for user in users}
    if len(distinct) != 1:
        return None
    user = users[0]
    return user if user is not None and user.op == "mul" else None


def _is_widened(value: Value) -> bool:
    """Whether an operand is no tensor of the other's shape: a number, a parameter, a mask, a mean."""
    if is_scalar(value):
        return True
    for _ in range(8):
        if value.op in ("input", "attr") and _SMALL.search(str(value.attrs[0])):
            return True
        if value.op == "index" and any(is_const(part, None) for part in value.operands[1:]):
            return True
        if value.op not in _PASSING:
            break
        value = value.operands[0]
    return value.op in _WIDENED


def _modulates(value: Value) -> bool:
    """Whether a factor is `1 + scale`: one for all tokens."""
    one_more = (is_number(part) and number(part) == 1 for part in value.operands)
    return value.op == "add" and any(one_more)


def _names_small(product: Value) -> bool:
    """Whether the source multiplies by what is called a mask or a scale."""
    node = product.node
    for child in node.named_children if node is not None else ():
        while child.type == "subscript":
            child = child.named_children[0]
        if child.type in ("identifier", "attribute"):
            name = (child.text or b"").decode("utf-8", "replace").rpartition(".")[2]
            if _SMALL.search(name):
                return True
    return False


def _is_other_rank(one: Value, two: Value) -> bool:
    return one.rank is not None and two.rank is not None and one.rank != two.rank


def _pack(graph: Graph, found: Gated) -> None:
    """Finds the tensor whose halves gate and up are; packed where nothing else takes part of it."""
    gate, up = _half(found.gate), _half(found.up)
    if gate is None or up is None or gate[0] is not up[0] or {gate[1], up[1]} != {0, 1}:
        return
    found.chunk, found.gate_first = gate[0], gate[1] == 0
    parts = {value.id: value for value in (gate[0], found.gate, found.up)}
    inside = found.consumed.keys() | parts.keys()
    for part in parts.values():
        for use in graph.uses(part):
            if use.user is not None and use.user.op in META:
                found.reads.append(use)
            elif use.user is None or use.user.id not in inside:
                return
    found.packed, found.halves = gate[0].operands[0], parts


def _half(value: Value) -> tuple[Value, int] | None:
    """The `x.chunk(2, dim=-1)` that a value is one part of, and which."""
    if value.op != "index" or len(value.operands) != 2 or not is_number(value.operands[1]):
        return None
    chunks, at = value.operands[0], int(number(value.operands[1]))
    if chunks.op != "chunk" or len(chunks.operands) != 3:
        return None
    extra = [number(part) for part in chunks.operands[1:] if is_number(part)]
    rank = chunks.operands[0].rank
    last = sorted(extra) == [-1, 2] or (rank is not None and extra == [2, rank - 1])
    return (chunks, at % 2) if last and at in (-2, -1, 0, 1) else None
