"""Heads of keys and values that are repeated before fused attention, one copy for each query head.

Only copies that stand side by side are grouped heads: `repeat_interleave`, or a new dim behind the
heads that is expanded and folded in. Whole blocks of heads one after another (`repeat`, a new dim
before the heads) pair other keys with the queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.fused_attention import FusedCall
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.patterns.parameters import handed, parameters
from cudalint.facts.graph.pool import is_const, is_number, number
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_HEADS = -3  # of (batch, heads, length, width)
_RANK = 4
_IMPORTED = "transformers."


@record(eq=False)
class Repeat:
    """`base` with its heads repeated; `above` are the permutations on the way to the call."""

    base: Value
    count: Value | None
    above: list[Value]
    consumed: list[Value]


@record(eq=False)
class RepeatedHeads:
    """A fused call whose keys and values are repeated alike."""

    call: FusedCall
    key: Repeat
    value: Repeat
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)
    used: bool = False


def repeated_heads(facts: PythonFacts, graph: Graph, call: FusedCall) -> RepeatedHeads | None:
    """What a call repeats; None with a mask, which the grouped kernels do not all take."""
    key, value = call.given.get("key"), call.given.get("value")
    if key is None or value is None or call.given.keys() & {"attn_mask", "enable_gqa"}:
        return None
    one, two = _repeat(facts, graph, key), _repeat(facts, graph, value)
    if one is None or two is None or one.count is not two.count:
        return None
    found = RepeatedHeads(call, one, two)
    found.consumed = {v.id: v for v in (call.value, *one.consumed, *two.consumed)}
    found.reads, found.used = others(graph, found.call.value, found.consumed)
    return found


def _repeat(facts: PythonFacts, graph: Graph, value: Value) -> Repeat | None:
    """Walk down from the operand of the call to the repetition of its heads."""
    dim, above = _HEADS, []
    while value.op in ("permute", "transpose"):
        above.append(value)
        source = _source(value, dim)
        if source is None:
            return None
        dim, value = source, value.operands[0]
    whole, optional = value, None
    if value.op == "phi":
        arms = value.operands[1:]
        optional = next((arm for arm in arms if _is_step(arm)), None)
        value = optional if optional is not None else value
    for read in (_interleaved, _expanded):
        found = read(value, dim)
        if found is not None:
            break
    else:
        found = _helped(facts, value, dim)
    if found is None:
        return None
    base, count, consumed = found
    if optional is not None and all(arm is not base for arm in whole.operands[1:]):
        return None
    inner = [whole, *consumed] if whole is not value else consumed
    counts = handed(count) if count is not None else [None]
    later = [v for v in counts[:-1] if v is not None]
    return Repeat(base, counts[-1], above, [*above, *inner, *later])


def _is_step(value: Value) -> bool:
    return value.op in ("torch.repeat_interleave", "view", "call", "torch.flatten")


def _source(value: Value, dim: int) -> int | None:
    """The dim that a permutation takes this one from; on an unknown rank the usual four dims."""
    if value.op == "permute":
        return int(value.attrs[dim]) if -dim <= len(value.attrs) else dim
    low, high = (int(at) - _RANK for at in value.attrs)
    return {low: high, high: low}.get(dim, dim)


def _from_end(dim: Value | None, value: Value) -> int | None:
    if dim is None or not is_number(dim):
        return None
    at = int(number(dim))
    return at - (value.rank or _RANK) if at >= 0 else at


Found = tuple[Value, "Value | None", list[Value]]


def _interleaved(value: Value, dim: int) -> Found | None:
    if value.op != "torch.repeat_interleave":
        return None
    given = parameters(value, ("input", "repeats", "dim", "output_size"))
    if given is None or _from_end(given.get("dim"), value.operands[0]) != dim:
        return None
    count = given.get("repeats")
    return None if count is None else (value.operands[0], count, [value])


def _expanded(value: Value, dim: int) -> Found | None:
    """`x[:, :, None].expand(b, h, n, t, d).reshape(b, h * n, t, d)`, also by `flatten`."""
    if value.op == "view":
        folded = len(value.operands) == 1 + _RANK
    elif value.op == "torch.flatten":
        given = parameters(value, ("input", "start_dim", "end_dim")) or {}
        ends = [_from_wide(given.get(name)) for name in ("start_dim", "end_dim")]
        folded = ends == [dim - 1, dim]
    else:
        return None
    wide = value.operands[0]
    if not folded or wide.op != "expand" or len(wide.operands) != 2 + _RANK:
        return None
    new = wide.operands[0]
    at = _new_dim(new)
    return (new.operands[0], wide.operands[1 + at], [value, wide, new]) if at == dim + 5 else None


def _from_wide(dim: Value | None) -> int | None:
    """A dim of the five, from the end; minus one more, so that heads keep their number."""
    if dim is None or not is_number(dim):
        return None
    at = int(number(dim))
    return at - _RANK - 1 if at >= 0 else at


def _new_dim(value: Value) -> int:
    """The place, counted from the front of five, of the one dim that is added; 0 for none."""
    if value.op == "unsqueeze":
        at = value.attrs[0]
        return (at + _RANK + 1 if at < 0 else at) if isinstance(at, int) else 0
    if value.op != "index":
        return 0
    indices = value.operands[1:]
    places = [at for at, index in enumerate(indices) if is_const(index, None)]
    slices = [i for i in indices if i.op == "slice" and all(is_const(p, None) for p in i.operands)]
    return places[0] if len(places) == 1 and len(slices) == len(indices) - 1 else 0


def _helped(facts: PythonFacts, value: Value, dim: int) -> Found | None:
    """`repeat_kv(x, n)`: a function of the file that returns its argument so, or Transformers'."""
    node = value.node
    function = node.child_by_field_name("function") if node is not None else None
    if value.op != "call" or function is None or len(value.operands) != 2:
        return None
    base, count = value.operands
    path = facts.names.qualified(function) or ""
    if path.startswith(_IMPORTED) and path.endswith(".repeat_kv"):
        return (base, count, [value]) if dim == _HEADS else None
    definition = facts.names.definition(function)
    if definition is None or definition.type != "function_definition":
        return None
    return (base, count, [value]) if _helper_repeats(facts, definition, dim) else None


def _helper_repeats(facts: PythonFacts, definition: Node, dim: int) -> bool:
    """Whether every return of a helper is its first parameter, or that with its heads repeated."""
    graph = facts.graphs.of(definition)
    if graph.opaque is not None:
        return False
    returned = list(_returned(graph))
    repeats = 0
    for value in returned:
        if value.op == "input":
            continue
        found = _interleaved(value, dim) or _expanded(value, dim)
        if found is None or found[0].op != "input":
            return False
        repeats += 1
    return repeats == 1 and len(returned) <= 2


def _returned(graph: Graph) -> Iterator[Value]:
    for value in graph.values:
        if any(use.kind == "return" for use in value.uses):
            yield value
