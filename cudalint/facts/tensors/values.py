"""The lattice: what is known of one expression's value, and how two possibilities join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cudalint.facts.devices import CPU, CUDA, UNKNOWN
from cudalint.records import field, record, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tree_sitter import Node

Kind = Literal[
    "tensor",
    "output",
    "number",
    "array",
    "text",
    "none",
    "module",
    "object",
    "function",
    "optimizer",
    "loader",
    "distribution",
    "sequence",
    "mapping",
    "device",
    "dtype",
    "bottom",
    "unknown",
]
INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64", "int")
FLOATS = ("float16", "bfloat16", "float32", "float64", "float")


@record(frozen=True)
class Value:
    """What is known of a value.

    `kind`: "tensor"; "output" (made of tensors, or one: a model's result, a batch); "number" (a
    Python number or bool); "array" (NumPy); "module" (of torch); "object" (of a class of the file);
    "sequence" and "mapping" with `items`/`entries` where each element is known, else `item`;
    "bottom" (no value: a cycle); the others as they say.
    `device`: "cuda" (or may be), "cpu" (certainly), "unknown". `dtype`: a torch dtype's name,
    "float" or "int" where only that is known, or "". `scalar`: certainly without dimensions.
    `sure` is false where the evidence is a convention (a callee that was given tensors, a name).
    `node`: the call that made a loader, the class of a module or an object, a function's
    definition. `path`: the class of a module of torch; its `scalar` says that it is a loss which
    reduces to one number.
    """

    kind: Kind
    device: str = UNKNOWN
    dtype: str = ""
    scalar: bool = False
    pinned: bool = False
    grad: bool = True
    sure: bool = True
    item: Value | None = None
    items: tuple[Value, ...] = ()
    entries: Mapping[str, Value] | None = field(default=None, compare=False)
    node: Node | None = None
    path: str = ""

    @property
    def is_tensor(self) -> bool:
        """Whether it is a tensor, or something that has a tensor's methods."""
        return self.kind in ("tensor", "output")

    @property
    def is_on_device(self) -> bool:
        """Whether it is a tensor that is not known to be on the CPU."""
        return self.is_tensor and self.device != CPU

    @property
    def is_integer(self) -> bool:
        return self.dtype in INTEGERS

    @property
    def is_floating(self) -> bool:
        return self.dtype in FLOATS

    def but(self, **changes: object) -> Value:
        """The same value with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


UNKNOWN_VALUE = Value("unknown")
BOTTOM = Value("bottom")
NUMBER = Value("number")
TEXT = Value("text")
NONE = Value("none")
ARRAY = Value("array")


def tensor(device: str = UNKNOWN, dtype: str = "", **more: object) -> Value:
    return Value("tensor", device=device, dtype=dtype, **more)  # type: ignore[arg-type]


def output(device: str = UNKNOWN, sure: bool = True, pinned: bool = False) -> Value:
    return Value("output", device=device, sure=sure, pinned=pinned)


def sequence(item: Value | None = None, items: tuple[Value, ...] = ()) -> Value:
    return Value("sequence", item=item if item is not None else join(*items), items=items)


def join_devices(*devices: str) -> str:
    """Where one of several values may be: CUDA if any may be, the CPU only if all are."""
    if CUDA in devices:
        return CUDA
    return CPU if devices and all(device == CPU for device in devices) else UNKNOWN


def join_dtypes(left: str, right: str) -> str:
    if left == right:
        return left
    for group, name in ((INTEGERS, "int"), (FLOATS, "float")):
        if left in group and right in group:
            return name
    return ""


def join(*values: Value) -> Value:
    """What a value is that may be any of several."""
    made = BOTTOM
    for value in values:
        made = _join(made, value)
    return made


def _join(left: Value, right: Value) -> Value:
    for one, other in ((left, right), (right, left)):
        if one.kind in ("bottom", "none"):
            return other if other.kind != "bottom" else one
    if left.kind == right.kind:
        return _same_kind(left, right)
    kinds = {left.kind, right.kind}
    if kinds == {"tensor", "output"}:
        return _same_kind(left.but(kind="output"), right.but(kind="output"))
    for one, other in ((left, right), (right, left)):
        if one.kind in ("number", "unknown") and other.is_tensor:
            return other.but(sure=False, pinned=False)
        if one.kind == "unknown" and other.kind in ("module", "loader", "sequence", "mapping"):
            return other.but(sure=False)
        if one.kind == "object" and other.kind == "module":
            return other
    return UNKNOWN_VALUE


def _same_kind(left: Value, right: Value) -> Value:
    items: tuple[Value, ...] = ()
    if len(left.items) == len(right.items):
        items = tuple(_join(a, b) for a, b in zip(left.items, right.items, strict=True))
    entries = left.entries if left.entries is not None else right.entries
    if left.entries is not None and right.entries is not None:
        entries = {**left.entries, **right.entries}
    return Value(
        left.kind,
        device=join_devices(left.device, right.device),
        dtype=join_dtypes(left.dtype, right.dtype),
        scalar=left.scalar and right.scalar,
        pinned=left.pinned and right.pinned,
        grad=left.grad or right.grad,
        sure=left.sure and right.sure,
        item=_maybe(left.item, right.item),
        items=items,
        entries=entries,
        node=left.node if left.node == right.node else None,
        path=left.path if left.path == right.path else "",
    )


def _maybe(left: Value | None, right: Value | None) -> Value | None:
    if left is None or right is None:
        return left or right
    return _join(left, right)
