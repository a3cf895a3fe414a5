"""Shapes and orders of dimensions: every transposition in one spelling, sizes where known.

A `permute` value carries the order of its trailing dimensions, counted from the end: position
`-n + i` of the result is dimension `order[i]` of the operand, and what stands before stays. So
`(-1, -2)` is the transposition of a matrix whatever the rank, and orders compose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cudalint.facts.graph.pool import Pool, is_const, is_number, number
from cudalint.facts.graph.values import Shape, Value

if TYPE_CHECKING:
    from tree_sitter import Node

Order = tuple[int, ...]
MATRIX: Order = (-1, -2)


def permute(pool: Pool, value: Value, order: Order, node: Node | None = None) -> Value:
    """Permute trailing dimensions; permutations of permutations are one, the identity is none."""
    if value.op == "permute":
        order = compose(value.attrs, order)
        value = value.operands[0]
    order = trimmed(order)
    if not order:
        return value
    made = pool.make("permute", (value,), order, node)
    if made.shape is None and value.shape is not None and len(value.shape) >= len(order):
        kept = value.shape[: len(value.shape) - len(order)]
        made.shape = kept + tuple([value.shape[at] for at in order])
    return made


def transposed(pool: Pool, value: Value) -> Value:
    """The matrix transposition of a value, as the one spelling needs it."""
    return permute(pool, value, MATRIX)


def compose(first: Order, then: Order) -> Order:
    """The order that applies `first` and after it `then`."""
    first, then = _widened(first, len(then)), _widened(then, len(first))
    return tuple([first[at] for at in then])


def inverse(order: Order) -> Order:
    """The order that undoes another."""
    found = [0] * len(order)
    for position, source in enumerate(order):
        found[source] = position - len(order)
    return tuple(found)


def trimmed(order: Order) -> Order:
    """Without the leading dimensions that stay where they are."""
    while order and order[0] == -len(order):
        order = order[1:]
    return order


def _widened(order: Order, size: int) -> Order:
    missing = size - len(order)
    return tuple(range(-size, -len(order))) + order if missing > 0 else order


def swap(value: Value, a: int, b: int) -> Order | None:
    """The order that swaps two dimensions; None where a positive one has no known place."""
    a, b = from_end(value, a), from_end(value, b)
    if a >= 0 or b >= 0:
        return None
    order = list(range(min(a, b), 0))
    order[a], order[b] = order[b], order[a]
    return tuple(order)


def from_end(value: Value, dim: int) -> int:
    """A dimension counted from the end where the rank is known, else as it is."""
    return dim - value.rank if dim >= 0 and value.rank is not None else dim


def transpose(pool: Pool, value: Value, a: int, b: int, node: Node | None) -> Value:
    """`transpose(a, b)`; on an unknown rank `(1, 2)` and `(2, 3)` stay what they are."""
    order = swap(value, a, b)
    if order is not None:
        return permute(pool, value, order, node)
    low, high = sorted((a, b))
    if value.op == "transpose" and value.attrs == (low, high):
        return value.operands[0]
    return pool.make("transpose", (value,), (low, high), node)


def assume_rank(value: Value, rank: int) -> None:
    """Record a rank that the code proves by use, where none was known."""
    if value.shape is None:
        value.shape = (None,) * rank


def view_shape(pool: Pool, sizes: Sequence[Value]) -> Shape:
    """The shape that `view(*sizes)` gives: -1 is unknown."""
    return tuple([None if is_const(size, -1) else size for size in sizes])


def index_shape(value: Value, indices: Sequence[Value]) -> Shape | None:
    """The shape after indexing with integers, slices, None and one ellipsis."""
    if value.shape is None:
        return None
    used = sum(1 for at in indices if at.op == "slice" or is_number(at))
    if used != sum(1 for at in indices if not (is_const(at, None) or is_const(at, ...))):
        return None
    left = list(value.shape)
    skipped = len(left) - used
    if skipped < 0:
        return None
    found: list[Value | None] = []
    for at in indices:
        if is_const(at, None):
            found.append(None)
        elif is_const(at, ...):
            found, left, skipped = [*found, *left[:skipped]], left[skipped:], 0
        else:
            size = left.pop(0)
            if at.op == "slice":
                found.append(_sliced(size, at))
    return tuple([*found, *left])


def _sliced(size: Value | None, at: Value) -> Value | None:
    start, stop, step = at.operands
    if not is_const(step, None) or not (is_const(start, None) or is_const(start, 0)):
        return None
    if is_const(stop, None):
        return size
    return stop if not (is_number(stop) and number(stop) < 0) else None


def reduced_shape(value: Value, dims: object, keepdim: bool) -> Shape | None:
    """The shape after a reduction over `dims` (None: over all)."""
    if value.shape is None:
        return None
    if dims is None:
        return ()
    if not isinstance(dims, tuple):
        return None
    rank = len(value.shape)
    gone = {dim % rank for dim in dims if isinstance(dim, int) and -rank <= dim < rank}
    if keepdim:
        return tuple([None if at in gone else size for at, size in enumerate(value.shape)])
    return tuple([size for at, size in enumerate(value.shape) if at not in gone])
