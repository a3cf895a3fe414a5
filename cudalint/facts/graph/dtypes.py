"""Casts: `.float()`, `.to(dtype)`, `.type_as(x)` are one operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import tables
from cudalint.facts.graph.memory import view
from cudalint.facts.graph.operations import Call, handles
from cudalint.facts.graph.pool import is_const
from cudalint.facts.graph.values import Slot, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


def cast(b: Builder, value: Value, dtype: Value, node: Node | None) -> Value:
    """A value in another dtype: a constant one in the attributes, another tensor's as operand."""
    path = str(dtype.attrs[0]) if dtype.op == "global" else ""
    name = tables.DTYPES.get(path.removeprefix("torch."))
    if name is not None:
        made = b.pool.make("cast", (value,), (name,), node)
    elif dtype.op == "dtype" and dtype.operands[0] is value:
        return value
    else:
        made = b.pool.make("cast", (value, dtype), (), node)
    made.shape = made.shape or value.shape
    return made


@handles(*tables.CASTS)
def _cast_to(b: Builder, call: Call) -> Slot | None:
    if call.input is None or len(call.slots) > 1:
        return None
    made = b.pool.make("cast", (call.input.value,), (tables.CASTS[call.name],), call.node)
    made.shape = made.shape or call.input.value.shape
    return view(made, call.input)


@handles("type_as", "to", "type")
def _to(b: Builder, call: Call) -> Slot | None:
    x, other = call.input, call.get(1, "dtype", "other")
    if x is None:
        return None
    value, node = x.value, call.node
    if call.name == "type_as" and other is not None:
        return view(cast(b, value, dtype_of(b, other), node), x)
    second = call.slots[2].value if len(call.slots) > 2 else None
    device = call.keywords.get("device")
    for given in (other, second):
        if given is not None and _is_dtype(given):
            value = cast(b, value, given, node)
        elif given is not None and not is_const(given, None):
            if given.op in ("input", "matmul", "self") and not _named_like_device(given):
                value = cast(b, value, dtype_of(b, given), node)
            else:
                value = _moved(b, value, given, node)
    if device is not None:
        value = _moved(b, value, device.value, node)
    return view(value, x)


def _moved(b: Builder, value: Value, device: Value, node: Node) -> Value:
    made = b.pool.make("to_device", (value, device), (), node)
    made.shape = made.shape or value.shape
    return made


def dtype_of(b: Builder, value: Value) -> Value:
    if value.op == "cast" and len(value.operands) == 1:
        return b.pool.make("global", (), (f"torch.{value.attrs[0]}",))
    return b.pool.make("dtype", (value,))


def _is_dtype(value: Value) -> bool:
    if value.op == "dtype":
        return True
    name = str(value.attrs[0]) if value.op in ("global", "self", "attr", "input") else ""
    if name.startswith("torch."):
        return name.removeprefix("torch.") in tables.DTYPES
    return "dtype" in name


def _named_like_device(value: Value) -> bool:
    return value.op in ("input", "self") and any(
        word in str(value.attrs[0]).lower() for word in ("device", "cuda", "gpu", "rank")
    )
