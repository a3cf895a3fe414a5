"""Views and headers: transpositions, reshapes, parts, sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import layout, tables
from cudalint.facts.graph.layout import permute, transpose
from cudalint.facts.graph.memory import fresh, view
from cudalint.facts.graph.operations import Call, dims_of, handles
from cudalint.facts.graph.pool import constant, is_number
from cudalint.facts.graph.values import Shape, Slot, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


@handles("transpose", "swapaxes", "swapdims")
def _transpose(b: Builder, call: Call) -> Slot | None:
    x = call.input
    one, two = call.get(1, "dim0", "axis0"), call.get(2, "dim1", "axis1")
    if x is None or one is None or two is None:
        return None
    if not (is_number(one) and is_number(two)):
        return _unknown_view(b, call)
    dims = int(str(constant(one))), int(str(constant(two)))
    return view(transpose(b.pool, x.value, *dims, call.node), x)


@handles("t", "adjoint")
def _t(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    if call.name == "t":
        layout.assume_rank(call.input.value, 2)
    return view(permute(b.pool, call.input.value, layout.MATRIX, call.node), call.input)


@handles("permute")
def _permute(b: Builder, call: Call) -> Slot | None:
    x, dims = call.input, sizes_of(b, call, 1, "dims")
    if x is None or not dims or not all(is_number(dim) for dim in dims):
        return _unknown_view(b, call)
    rank = len(dims)
    layout.assume_rank(x.value, rank)
    order = tuple([int(str(constant(dim))) % rank - rank for dim in dims])
    return view(permute(b.pool, x.value, order, call.node), x)


def sizes_of(b: Builder, call: Call, position: int, *keywords: str) -> list[Value] | None:
    """The sizes or dims of `view(a, b)` or `view((a, b))`; None where they are not all seen."""
    given = call.slot(position, *keywords)
    if given is None:
        return None
    inner = b.elements.get(given.value.id)
    found = inner if inner is not None else call.slots[position:]
    if any(slot.value.op in ("shape", "star", "add", "unknown", "call") for slot in found):
        return None
    return [slot.value for slot in found]


@handles("view", "reshape")
def _view(b: Builder, call: Call) -> Slot | None:
    x, sizes = call.input, sizes_of(b, call, 1, "shape", "size")
    if x is None:
        return None
    if not sizes or any(size.op == "global" for size in sizes):
        return _unknown_view(b, call)
    made = b.pool.make("view", (x.value, *sizes), (), call.node)
    made.shape = made.shape or layout.view_shape(b.pool, sizes)
    return view(made, x)


@handles("expand")
def _expand(b: Builder, call: Call) -> Slot | None:
    x, sizes = call.input, sizes_of(b, call, 1, "size", "sizes")
    if x is None or not sizes:
        return _unknown_view(b, call)
    made = b.pool.make("expand", (x.value, *sizes), (), call.node)
    made.shape = made.shape or layout.view_shape(b.pool, sizes)
    return view(made, x)


@handles("unsqueeze")
def _unsqueeze(b: Builder, call: Call) -> Slot | None:
    x, dim = call.input, call.get(1, "dim")
    if x is None or dim is None or not is_number(dim):
        return _unknown_view(b, call)
    at, shape = int(str(constant(dim))), x.value.shape
    if shape is not None and at >= 0:
        at -= len(shape) + 1
    made = b.pool.make("unsqueeze", (x.value,), (at,), call.node)
    if shape is not None and made.shape is None and at < 0:
        place = len(shape) + 1 + at
        made.shape = (*shape[:place], b.pool.const(1), *shape[place:])
    return view(made, x)


@handles("squeeze")
def _squeeze(b: Builder, call: Call) -> Slot | None:
    x = call.input
    if x is None:
        return None
    return view(b.pool.make("squeeze", (x.value,), (dims_of(b, call),), call.node), x)


@handles(*tables.IDENTITY)
def _identity(b: Builder, call: Call) -> Slot | None:
    x = call.input
    if x is None:
        return None
    return fresh(x.value) if call.name == "clone" else view(x.value, x)


@handles("detach")
def _detach(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    made = b.pool.make("detach", (call.input.value,), (), call.node)
    made.shape = made.shape or call.input.value.shape
    return view(made, call.input)


@handles("chunk", "split", "unbind")
def _chunk(b: Builder, call: Call) -> Slot | None:
    x = call.input
    if x is None:
        return None
    extra = tuple([value for value in call.values() if value is not x.value])
    made = b.pool.make(call.name, (x.value, *extra), tuple(sorted(call.keywords)), call.node)
    if call.name == "unbind" and x.value.shape is not None and made.shape is None:
        made.shape = _unbound(x.value.shape, dims_of(b, call))
    count = call.get(1, "chunks")
    if call.name == "chunk" and count is not None and is_number(count):
        parts = range(min(int(str(constant(count))), 64))
        b.elements.setdefault(made.id, [view(_part(b, call, made, at), x, at) for at in parts])
    return view(made, x)


def _unbound(shape: Shape, dims: object) -> Shape | None:
    """The dims of `x.unbind(dim)`: as many parts as that dim has, then the others."""
    at = dims[0] if isinstance(dims, tuple) and dims else -len(shape)
    if not isinstance(at, int) or not -len(shape) <= at < 0:
        return None
    at += len(shape)
    return (shape[at], *shape[:at], *shape[at + 1 :])


def _part(b: Builder, call: Call, chunks: Value, at: int) -> Value:
    made = b.pool.make("index", (chunks, b.pool.const(at)), (), call.node)
    whole, dims = chunks.operands[0], dims_of(b, call, 2)
    if made.shape is None and whole.shape is not None and isinstance(dims, tuple) and dims != ():
        shape = list(whole.shape)
        if isinstance(dims[0], int) and -len(shape) <= dims[0] < 0:
            shape[dims[0]] = b.pool.make("part", (chunks,))
            made.shape = tuple(shape)
    return made


def _unknown_view(b: Builder, call: Call) -> Slot | None:
    """A view of which only the base is known."""
    if call.input is None:
        return None
    operands = tuple(call.values())
    sizes = b.elements.get(operands[1].id) if len(operands) == 2 else None
    if sizes is not None:  # `view((a, *b))` is as `view(a, *b)`
        operands = (operands[0], *(slot.value for slot in sizes))
    return view(b.pool.make(call.name, operands, ("?",), call.node), call.input)


@handles("size")
def _size(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    dim = call.get(1, "dim")
    if dim is None:
        return fresh(b.pool.make("shape", (call.input.value,), (), call.node))
    return fresh(size_of(b, call.input.value, dim, call.node))


@handles("dim", "ndimension")
def _rank(b: Builder, call: Call) -> Slot | None:
    if call.input is None:
        return None
    return fresh(b.pool.make("rank", (call.input.value,), (), call.node))


def size_of(b: Builder, value: Value, dim: Value, node: Node | None) -> Value:
    """`x.shape[dim]`: the value that made this dimension, where it is known."""
    if not is_number(dim):
        return b.pool.make("size", (value, dim), ("?",), node)
    at = int(str(constant(dim)))
    if value.shape is not None and -len(value.shape) <= at < len(value.shape):
        known = value.shape[at]
        if known is not None:
            if node is not None:
                b.pool.make("size", (value,), (at,), node)  # the header is read here
            return known
        at -= len(value.shape) if at >= 0 else 0
        made = b.pool.make("size", (value,), (at,), node)
        value.shape = (*value.shape[:at], made, *value.shape[len(value.shape) + at + 1 :])
        return made
    return b.pool.make("size", (value,), (at,), node)
