"""Attention: matmul, softmax over the keys, matmul, with what may stand in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.layout import MATRIX, Order, compose, trimmed
from cudalint.facts.graph.patterns.chain import Chain, Step, flat, is_shift
from cudalint.facts.graph.patterns.others import others
from cudalint.facts.graph.pool import constant, is_const, is_scalar
from cudalint.facts.graph.values import Graph, Use, Value
from cudalint.lazy import lazy_compile
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

# Steps that the fused function does as well; others are attention still, but stay as they are.
BELOW = frozenset(
    {"mul", "add", "mask", "keep", "drop", "cast", "permute", "view", "clamp", "tanh", "branch"}
    | {"shift", "assign", "unknown bias"}
)
ABOVE = frozenset({"cast", "dropout", "unknown dropout", "permute", "view", "branch", "clamp"})
_WEIGHT = lazy_compile(r"weight|proj|^w\d*$", re.IGNORECASE)
_PIXELS = lazy_compile(r"->.*\bc\w*\)? \((?:h w|w h|x y|t h w)\)\s*$")


@record(eq=False)
class Attention:
    """One attention of a graph.

    `above` and `below` are the steps over and under the softmax, each from the top down;
    `order` is how the dims of a fused call's result are to be permuted, `swapped` tells that the
    scores are `k · qᵀ`. `consumed` are all values that a fused call replaces, `reads` the nodes that
    look at the header (shape, dtype) of one of them.
    """

    result: Value
    query: Value
    key: Value
    value: Value
    scores: Value
    softmax: Step
    above: list[Step]
    below: list[Step]
    order: Order
    swapped: bool
    rank: int | None = None  # where only the transposition of the keys tells it
    consumed: dict[int, Value] = field(default_factory=dict)
    reads: list[Use] = field(default_factory=list)

    def nodes(self, function: Node) -> list[Node]:
        """The source expressions that are consumed, in the function itself."""
        found = [
            v.node for v in self.consumed.values() if v.node is not None and v.body == function
        ]
        return sorted(found, key=lambda node: node.start_byte)


def attentions(graph: Graph) -> Iterator[Attention]:
    """The attentions of a graph whose weights nothing else uses."""
    if not graph.by_op.get("softmax"):
        return
    chain = Chain()
    for product in graph.of("matmul"):
        for side in (0, 1):
            found = _match(chain, product, side)
            if found is not None and _closed(graph, found):
                yield found
                break


def _match(chain: Chain, product: Value, side: int) -> Attention | None:
    weights, values = product.operands[side], product.operands[1 - side]
    found = chain.down(weights, False)
    if found is None or values is weights:
        return None
    steps, scores = found
    at = next((i for i, step in enumerate(steps) if step.kind == "softmax"), None)
    if at is None:
        return None
    above, softmax, below = steps[:at], steps[at], steps[at + 1 :]
    roles = _roles(above, softmax, below, scores)
    if roles is None:
        return None
    query, key = scores.operands if roles == 1 else scores.operands[::-1]
    key, assumed = _untransposed(key)
    if _is_weight(key) or _over_channels(query) or not _allowed(above, below):
        return None
    if _is_over_one_axis(above):
        return None
    result, order = _result(product, side == 1)
    return Attention(
        result, query, key, values, scores, softmax, above, below, order, roles == 2, assumed
    )


def _is_over_one_axis(above: list[Step]) -> bool:
    """Whether the keys are a row and a column of an image and the softmax is over columns only.

    The dims that an einsum sums over are joined by it; to be one dim of the softmax as well they
    must be joined in the source.
    """
    made = [step.value.op == "torch.flatten" and step.value.node is None for step in above]
    under = above[len(made) - made[::-1].index(True) :] if any(made) else []
    return any(made) and not any(step.kind == "view" for step in under)


def _result(product: Value, turned: bool) -> tuple[Value, Order]:
    """The value that the source has for the second product, and the order of its dims.

    `v · pᵀ` is the transposed product, and an einsum may put the dims into any order.
    """
    order: Order = MATRIX if turned else ()
    if product.node is None:
        users = {use.user.id: use.user for use in product.uses if use.user is not None}
        if len(users) == 1:
            (user,) = users.values()
            if user.op == "permute" and user.node is not None:
                return user, trimmed(compose(order, user.attrs))
    return product, order


def _untransposed(key: Value) -> tuple[Value, int | None]:
    """The keys of `q @ k.transpose(1, 2)` on an unknown rank, and the rank that this implies.

    With any other rank the product would sum over dims that have nothing in common.
    """
    if key.op == "permute" and key.attrs == (-1, -2) and key.operands[0].op == "transpose":
        low, high = key.operands[0].attrs
        if low >= 1 and high == low + 1:
            return key.operands[0].operands[0], high + 1
    return key, None


def _roles(above: list[Step], softmax: Step, below: list[Step], scores: Value) -> int | None:
    """Follow the contracted and the free dim of the weights down to the scores.

    1: the keys are the last dim of the scores; 2: they are the rows. None: the softmax runs over
    another dim than the one that is contracted with the values.
    """
    free, summed = -2, -1
    for step in above:
        free, summed = _through(step, free, summed)
    if not _over(softmax.value, summed, scores):
        return None
    for step in below:
        free, summed = _through(step, free, summed)
    return {(-2, -1): 1, (-1, -2): 2}.get((free, summed))


def _through(step: Step, free: int, summed: int) -> tuple[int, int]:
    if step.kind != "permute":
        return free, summed
    order = step.value.attrs
    size = len(order)

    def source(dim: int) -> int:
        return int(order[dim]) if -dim <= size else dim

    return source(free), source(summed)


def _over(softmax: Value, dim: int, scores: Value) -> bool:
    dims = softmax.attrs[0]
    if not isinstance(dims, tuple) or len(dims) != 1 or not isinstance(dims[0], int):
        return False
    given = dims[0]
    if given < 0:
        return given == dim
    known = softmax.rank or scores.rank or _untransposed(scores.operands[1])[1]
    if known is None:
        ranks = [operand.rank for operand in scores.operands if operand.rank is not None]
        known = max(ranks, default=None)
    return given == 3 and dim == -1 if known is None else given - known == dim


def _is_weight(key: Value) -> bool:
    """`x @ self.weight`: a projection, not a product with keys."""
    if key.op != "permute" or key.attrs != (-1, -2):
        return False
    base = key.operands[0]
    named = base.op == "input" and _WEIGHT.search(str(base.attrs[0])) is not None
    return named or base.op == "self"


def _over_channels(query: Value) -> bool:
    """Whether the scores compare channels and sum over positions, as cross-covariance attention.

    Its "keys" are channels and its head dim is the length: no fused kernel takes it.
    """
    while query.op in ("torch.normalize", "cast"):
        query = query.operands[0]
    if query.op == "einops.rearrange":
        pattern = str(constant(query.operands[1]))
        return _PIXELS.search(pattern) is not None
    if query.shape is None or len(query.shape) < 2:
        return False
    rows, summed = query.shape[-2:]
    if summed is not None and summed.op == "mul":
        return all(size.op == "size" for size in summed.operands)
    parted = rows is None or rows.op == "floordiv"
    return parted and summed is not None and summed.op == "size" and summed.attrs == (-2,)


def _allowed(above: list[Step], below: list[Step]) -> bool:
    for step in flat(below):
        if is_shift(step, _below(step)):
            step.kind = "shift"
    if any(step.kind not in BELOW for step in flat(below)):
        return False
    for steps, softened in ((above, True), (below, False)):
        views = [step.value for step in flat(steps) if step.kind == "view"]
        if not all(_keeps_rows(view, softened) for view in views):
            return False
    for step in flat(above):
        if step.kind == "mask" and _fills_zero(step) and _masked_before(step, below):
            continue
        if step.kind == "mul" and step.other is not None and is_factor(step.other):
            continue
        if step.kind not in ABOVE:
            return False
    return True


def is_factor(value: Value) -> bool:
    """Whether a value is a number and no gate: a constant, a size, a root of one."""
    if is_scalar(value):
        return True
    roots = value.op == "pow" and len(value.operands) == 1 and value.attrs[0] in (-0.5, 0.5, -1)
    return roots and value.operands[0].op in ("self", "input", "attr", "pow", "number")


def _keeps_rows(view: Value, softened: bool) -> bool:
    """Whether a view leaves the dim of the keys as it is, as far as its sizes tell."""
    if view.op != "view" or view.attrs == ("?",):
        return True
    before, after = view.operands[0].shape, view.shape
    if before and after and before[-1] is after[-1] and before[-1] is not None:
        return True
    return len(view.operands) > 3 and (softened or not is_const(view.operands[-1], -1))


def _below(step: Step) -> Value:
    """The running value that a two-operand step works on."""
    operands = step.value.operands
    return operands[1] if step.other is operands[0] else operands[0]


def _fills_zero(step: Step) -> bool:
    return is_const(step.value.operands[2], 0)


def _masked_before(step: Step, below: list[Step]) -> bool:
    return any(inner.kind == "mask" and inner.other is step.other for inner in flat(below))


def _closed(graph: Graph, found: Attention) -> bool:
    """Whether nothing outside uses what a fused call would not make; collects what is consumed."""
    steps = flat([*found.above, found.softmax, *found.below])
    inner = [found.scores, *(step.value for step in steps)]
    inner += [step.base for step in steps if step.base is not None]
    inner += [step.other for step in steps if step.kind == "softmax" and step.other is not None]
    found.consumed = {value.id: value for value in (*inner, found.result)}
    if found.result.op == "permute":
        found.consumed[found.result.operands[0].id] = found.result.operands[0]
    for step in steps:
        if step.kind == "shift" and step.other is not None:
            _consume_between(found, step.other, _below(step))
        if step.kind == "assign":
            _consume_between(found, step.value.operands[1], step.value.operands[0])
    _consume_joins(graph, found)
    found.reads, used = others(graph, found.result, found.consumed)
    return not used


def _consume_between(found: Attention, other: Value, running: Value) -> None:
    """Consume what an operand computes from the running value (its maximum, a part of it)."""
    path: list[Value] = []
    stack: list[tuple[Value, tuple[Value, ...]]] = [(other, (other,))]
    while stack and len(path) < 100:
        at, trail = stack.pop()
        for operand in at.operands if len(trail) < 10 else ():
            if operand is running:
                path.extend(trail)
            else:
                stack.append((operand, (*trail, operand)))
    found.consumed.update({value.id: value for value in path})


def _consume_joins(graph: Graph, found: Attention) -> None:
    """Joins of consumed values alone are consumed too."""
    changed = True
    while changed:
        changed = False
        for value in list(found.consumed.values()):
            for use in value.uses:
                user = use.user
                if user is None or user.op != "phi" or user.id in found.consumed:
                    continue
                if user is not found.result and all(
                    v.id in found.consumed for v in user.operands[1:]
                ):
                    found.consumed[user.id] = user
                    changed = True


__all__ = ["Attention", "attentions"]
