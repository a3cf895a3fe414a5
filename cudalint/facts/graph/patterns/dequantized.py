"""Matrix products whose weight is expanded from packed or narrow integers just before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.pool import is_number, number
from cudalint.facts.graph.tables import words
from cudalint.facts.graph.values import Graph, Value
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

# Steps that leave a weight what it is: layout, casts, unpacking, zero points, scales.
_STEPS = words(
    """cast mul add phi tuple permute transpose view expand unsqueeze squeeze slice index and or unknown detach
    to_device torch.bitwise_right_shift torch.bitwise_left_shift torch.bitwise_or torch.cat
    torch.stack torch.flatten torch.repeat_interleave torch.concat"""
)
# Their other operands are sizes and places.
_ADDRESSED = words("view expand unsqueeze squeeze slice index torch.repeat_interleave")
_SHIFTS = ((">>",), ("<<",), ("|",), ("&",))
_SCALE = lazy_compile(r"scale|absmax|(?:^|_)delta", re.IGNORECASE)
_INTEGER = lazy_compile(r"\b(?:u?int8|u?int4|int32|qint8|CharTensor|ByteTensor)\b")
_FLOAT = lazy_compile(r"float(?:8|16|32|64)|\bhalf\b")
# `q_weight` and `w_q` are projections of queries as often.
_STORED = lazy_compile(
    r"qweight|weight_(?:int|packed)|(?:int|packed|quant\w*)_weight|w_int[48]|int_data|quantized_w",
    re.IGNORECASE,
)
# Integers beside a weight: they index or mask it.
_BESIDE = lazy_compile(r"zero|mask|idx|index|ids?$|shift|^wf|bits|perm", re.IGNORECASE)
_MOST = 60


@record(eq=False)
class Expanded:
    """One product: of `x` and what is made of `stored`; `result` is scaled, perhaps afterwards.

    `weight` is what the product takes; `after` the scales of the product, where these come later.
    """

    product: Value
    x: Value
    stored: Value
    weight: Value
    result: Value
    after: Value | None = None
    steps: dict[int, Value] = field(default_factory=dict)
    unpacks: bool = False

    def first(self, function: Node) -> Node | None:
        nodes = [v.node for v in self.steps.values() if v.node is not None and v.body == function]
        return min(nodes, key=lambda node: node.start_byte, default=None)


def expanded(facts: PythonFacts, graph: Graph) -> Iterator[Expanded]:
    """The products of a graph whose weight was made of integers and scales in this function."""
    for product in graph.of("matmul"):
        for x, weight in (product.operands, product.operands[::-1]):
            found = _read(facts, graph, product, x, weight)
            if found is not None:
                yield found
                break


def _read(
    facts: PythonFacts, graph: Graph, product: Value, x: Value, weight: Value
) -> Expanded | None:
    steps, leaves = _steps(weight)
    if not steps or any(step is x for step in steps.values()):
        return None
    unpacks = any(_unpacks(step) for step in steps.values())
    stored = [leaf for leaf in leaves if _is_stored(facts, graph, leaf)]
    scales = [leaf for leaf in leaves if _is_scale(leaf)]
    if len(stored) != 1:
        return None
    result, after = product, None
    if not scales:
        result, after = _scaled_after(graph, product)
    if not scales and after is None:
        return None
    return Expanded(product, x, stored[0], weight, result, after, steps, unpacks)


def _steps(weight: Value) -> tuple[dict[int, Value], list[Value]]:
    """What stands between a weight and what it is made of, and these."""
    steps: dict[int, Value] = {}
    leaves: dict[int, Value] = {}
    stack = [weight]
    while stack and len(steps) < _MOST:
        at = stack.pop()
        if at.id in steps or at.id in leaves:
            continue
        if at.op not in _STEPS or (at.op == "unknown" and at.attrs[-1:] not in _SHIFTS):
            leaves[at.id] = at
            continue
        steps[at.id] = at
        if at.op == "phi":
            stack.extend(at.operands[1:])
        else:
            stack.extend(at.operands[:1] if at.op in _ADDRESSED else at.operands)
    return steps, list(leaves.values())


def _unpacks(step: Value) -> bool:
    """A shift, or a mask of the low bits."""
    if step.op == "and":
        return any(is_number(part) and number(part) in (1, 3, 7, 15) for part in step.operands)
    return "shift" in step.op or (step.op == "unknown" and step.attrs[-1:] in _SHIFTS[:2])


def _is_stored(facts: PythonFacts, graph: Graph, leaf: Value) -> bool:
    """Whether a value is a weight kept as integers: by the dtype it is made with, else by name."""
    if leaf.op not in ("self", "input", "attr"):
        return False
    name = str(leaf.attrs[0])
    if leaf.op == "self":
        holder = facts.graphs.classes.of(leaf.body or graph.function)
        values = holder.values(name) if holder is not None else []
        texts = [facts.code(value) for value in values]
        if any(_FLOAT.search(text) for text in texts):
            return False
        if any(_INTEGER.search(text) for text in texts):
            return not _SCALE.search(name) and not _BESIDE.search(name)
    return _STORED.search(name.rpartition(".")[2]) is not None and not _SCALE.search(name)


def _is_scale(leaf: Value) -> bool:
    return leaf.op in ("self", "input", "attr") and bool(_SCALE.search(str(leaf.attrs[0])))


def _scaled_after(graph: Graph, product: Value) -> tuple[Value, Value | None]:
    """`F.linear(x, q.to(x.dtype)) * scales`: the scaled product, and the scales."""
    users = [use.user for use in graph.uses(product)]
    user = users[0] if len(users) == 1 else None
    if user is None or user.op != "mul":
        return product, None
    after = user.operands[1] if user.operands[0] is product else user.operands[0]
    other = after
    while other.op in ("cast", "view", "squeeze", "unsqueeze", "index") and other.operands:
        other = other.operands[0]
    return (user, after) if _is_scale(other) else (product, None)
