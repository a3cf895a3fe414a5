"""Operations along dimensions: softmax, sums and maxima, dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import layout, tables
from cudalint.facts.graph.dtypes import cast
from cudalint.facts.graph.memory import fresh
from cudalint.facts.graph.operations import Call, dims_of, handles
from cudalint.facts.graph.pool import broadcast, constant, is_const, is_number
from cudalint.facts.graph.values import Slot, Value

if TYPE_CHECKING:
    from cudalint.facts.graph.builder import Builder


@handles("softmax", "log_softmax")
def _softmax(b: Builder, call: Call) -> Slot | None:
    x = call.input
    if x is None:
        return None
    dims, value = dims_of(b, call), x.value
    dtype = call.get(3 if call.functional else 2, "dtype")
    if dtype is not None and not is_const(dtype, None):
        value = cast(b, value, dtype, None)
    made = b.pool.make(call.name, (value,), (dims,), call.node)
    made.shape = made.shape or value.shape
    return fresh(made)


@handles(*tables.REDUCTIONS)
def _reduce(b: Builder, call: Call) -> Slot | None:
    x = call.input
    if x is None:
        return None
    value, second = x.value, call.get(1, "dim", "axis")
    if call.name in ("max", "min") and (second is None or _is_other(b, call, second)):
        if second is None:
            return fresh(b.pool.make("a" + call.name, (value,), (None, False), call.node))
        op = {"max": "maximum", "min": "minimum"}[call.name]
        return fresh(broadcast(b.pool.make(op, (value, second), (), call.node)))
    dtype = call.keywords.get("dtype")
    if dtype is not None and not is_const(dtype.value, None):
        value = cast(b, value, dtype.value, None)
    return _reduced(b, call, value)


def _reduced(b: Builder, call: Call, value: Value) -> Slot:
    pair = call.name in ("max", "min", "median")
    at = 2 if call.name == "norm" else 1
    keep = call.get(at + 1 if call.name not in ("std", "var") else 3, "keepdim", "keepdims")
    dims, keepdim = dims_of(b, call, at), is_const(keep, True)
    extra: tuple[object, ...] = ()
    if call.name == "norm":
        extra = (constant(call.get(1, "p", "ord")) if call.get(1, "p", "ord") else 2,)
    elif call.name in ("std", "var"):
        extra = (_unbiased(call),)
    op = {"max": "amax", "min": "amin"}.get(call.name, call.name)
    made = b.pool.make(op, (value,), (dims, keepdim, *extra), call.node)
    made.shape = made.shape or layout.reduced_shape(value, dims, keepdim)
    if not pair:
        return fresh(made)
    both = b.pool.make("pair", (made,), (), call.node, unique=True)
    where = b.pool.make("arg" + op, (value,), (dims, keepdim), call.node)
    b.elements[both.id] = [fresh(made), fresh(where)]
    return fresh(both)


@handles("var_mean", "std_mean")
def _with_mean(b: Builder, call: Call) -> Slot | None:
    """`var, mean = torch.var_mean(…)`: both, spelled as they are alone."""
    x = call.input
    if x is None:
        return None
    first = Call(call.node, call.name.partition("_")[0], call.slots, call.keywords)
    spread, dims = _reduced(b, first, x.value), dims_of(b, call)
    mean = b.pool.make("mean", (x.value,), (dims, spread.value.attrs[1]), call.node)
    mean.shape = mean.shape or spread.value.shape
    return b.tuple_of([spread, fresh(mean)], call.node)


def _unbiased(call: Call) -> object:
    given = call.get(2, "unbiased", "correction")
    return True if given is None else bool(constant(given))


def _is_other(b: Builder, call: Call, value: Value) -> bool:
    """Whether the second argument of `max` is a tensor to compare with, and no dim."""
    named = call.keywords.keys() & {"dim", "axis", "keepdim", "keepdims"}
    return not (named or len(call.slots) > 2 or is_number(value) or value.id in b.elements)


@handles("dropout", "alpha_dropout", "feature_dropout", "dropout1d", "dropout2d")
def _dropout(b: Builder, call: Call) -> Slot | None:
    x = call.input
    if x is None:
        return None
    p = call.get(1, "p") or b.pool.const(0.5)
    training = call.get(2, "training", "train") or b.pool.const(True)
    op = "dropout" if call.name == "dropout" else "random"
    made = b.pool.make(op, (x.value, p, training), ("function",), call.node)
    made.shape = x.value.shape
    return fresh(made)
