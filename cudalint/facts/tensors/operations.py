"""What an operation on tensors gives: as a method, a function of torch, or an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU, CUDA, UNKNOWN
from cudalint.facts.tensors import tables
from cudalint.facts.tensors.tables import words
from cudalint.facts.tensors.values import (
    ARRAY,
    NONE,
    NUMBER,
    TEXT,
    Value,
    join,
    join_devices,
    join_dtypes,
    output,
    sequence,
    tensor,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tree_sitter import Node

    from cudalint.facts.arguments import Arguments
    from cudalint.facts.python import PythonFacts


def operation(
    facts: PythonFacts, name: str, operand: Value, others: Sequence[Node], given: Arguments
) -> Value:
    """The result of a tensor operation; `others` are the positional arguments after the operand."""
    if name in tables.SEQUENCES:
        return sequence(_plain(operand, name))
    values = [facts.tensors.value(node) for node in others]
    has_dim = _has_dim(name, values, given)
    if name in tables.PAIRS and has_dim and not any(value.is_tensor for value in values):
        first = _plain(operand, name).but(scalar=False)
        return sequence(items=(first, tensor(operand.device, "int64")))
    if name == "nonzero" and "as_tuple" in given.keywords:
        return sequence(tensor(operand.device, "int64"))
    made = _plain(operand, name)
    tensors = [operand, *(value for value in values if value.is_tensor)]
    if name in tables.BINARY or len(tensors) > 1:
        made = made.but(
            device=join_devices(*(value.device for value in tensors)),
            sure=any(value.sure for value in tensors),
        )
    if name in tables.TORCH_ONLY or (has_dim and name in tables.REDUCTIONS):
        made = made.but(sure=True)
    return made.but(
        dtype=_dtype(facts, name, tensors, given), scalar=_scalar(name, tensors, has_dim)
    )


def _plain(operand: Value, name: str) -> Value:
    grad = operand.grad and name not in ("detach", "detach_") and operand.kind != "number"
    return tensor(operand.device, grad=grad, dtype=operand.dtype, sure=operand.sure)


def _has_dim(name: str, others: Sequence[Value], given: Arguments) -> bool:
    if "dim" in given.keywords or "axis" in given.keywords or name in ("topk", "sort", "kthvalue"):
        return True
    return bool(others) and name in tables.REDUCTIONS | tables.PAIRS and not others[0].is_tensor


def _scalar(name: str, tensors: Sequence[Value], has_dim: bool) -> bool:
    if name in tables.REDUCTIONS and not has_dim and len(tensors) == 1:
        return True
    if name in tables.ELEMENTWISE or name in tables.BINARY or name in tables.COMPARISONS:
        return all(value.scalar for value in tensors)
    return False


def _dtype(facts: PythonFacts, name: str, tensors: Sequence[Value], given: Arguments) -> str:
    if (node := given.keywords.get("dtype")) is not None:
        return dtype_of(facts, node)
    operand = tensors[0].dtype
    if name in tables.COMPARISONS:
        return "bool"
    if name in tables.INDICES:
        return "int64"
    if name in tables.SUMS and tensors[0].is_integer:
        return "int64"
    if name in tables.CASTS:
        return tables.CASTS[name]
    if name in tables.SAME or name in tables.SUMS or name in tables.PAIRS:
        return operand
    if name in ("div", "true_divide") and tensors[0].is_integer:
        return "float"
    if name in tables.BINARY:
        return promote(*(value.dtype for value in tensors))
    return operand if tensors[0].is_floating else "float" if name in _FLOATING else ""


_FLOATING = tables.MEANS | words(
    "softmax log_softmax sigmoid tanh exp log sqrt rsqrt log1p sin cos matmul bmm linear"
)


def promote(*dtypes: str) -> str:
    """The dtype of a result of several operands, as far as it is sure."""
    if not all(dtypes):
        floats = [dtype for dtype in dtypes if dtype in ("float", "float64")]
        return "float" if floats else ""
    floating = [dtype for dtype in dtypes if dtype.startswith(("float", "bfloat"))]
    made = (floating or list(dtypes))[0]
    for dtype in floating or dtypes:
        made = join_dtypes(made, dtype)
    return made


def dtype_of(facts: PythonFacts, node: Node) -> str:
    """The dtype that an expression names, "" where it cannot be read."""
    path = facts.names.qualified(node) or ""
    name = path.removeprefix("torch.")
    if path.startswith("torch.") and name in tables.DTYPES:
        return tables.DTYPE_ALIASES.get(name, name)
    return {"builtins.float": "float", "builtins.int": "int64", "builtins.bool": "bool"}.get(
        path, ""
    )


def method(facts: PythonFacts, owner: Value, name: str, given: Arguments) -> Value:
    """What a method of a tensor, or of something made of tensors, returns."""
    if name == "tolist":
        return sequence(NUMBER)
    if name in ("numpy", "__array__"):
        return ARRAY
    if name == "size" and not given.positional and not given.keywords:
        return sequence(NUMBER)
    if name in tables.PLAIN_METHODS or name.startswith("is_"):
        return NONE if name == "backward" else NUMBER
    if name in ("to", "type", "type_as", "cuda", "cpu") or name in tables.CASTS:
        return moved(facts, owner, name, given)
    if name == "pin_memory":
        return owner.but(device=CPU, pinned=True)
    if name == "as_subclass":
        return owner
    if owner.kind == "output" and (made := _mapping_method(owner, name)) is not None:
        return made
    if name.startswith("new_"):
        return tensor(_device(facts, given) or owner.device)
    if owner.kind == "output" and not _is_operation(name):
        return output(owner.device, sure=False)
    return operation(facts, name.rstrip("_") or name, owner, given.positional, given)


def _is_operation(name: str) -> bool:
    bare = name.rstrip("_")
    return bare in (
        tables.COMPARISONS
        | tables.INDICES
        | tables.SUMS
        | tables.MEANS
        | tables.PAIRS
        | tables.SEQUENCES
        | tables.SAME
        | tables.ELEMENTWISE
        | tables.BINARY
        | tables.TORCH_ONLY
    )


def _mapping_method(owner: Value, name: str) -> Value | None:
    item = output(owner.device, owner.sure, owner.pinned).but(node=owner.node)
    if name == "items":
        return sequence(sequence(items=(TEXT, item)))
    if name == "values":
        return sequence(item)
    if name == "keys":
        return sequence(TEXT)
    return item if name in ("get", "pop") else None


def moved(facts: PythonFacts, owner: Value, name: str, given: Arguments) -> Value:
    """`.to(…)`, `.cuda()`, `.cpu()` and casts: the same kind of thing elsewhere, or of a dtype."""
    if name == "cuda":
        return owner.but(device=CUDA, pinned=False)
    if name == "cpu":
        return owner.but(device=CPU, pinned=False)
    if name in tables.CASTS:
        return owner.but(kind="tensor", dtype=tables.CASTS[name], pinned=False)
    if name == "type_as" and given.positional:
        like = facts.tensors.value(given.positional[0])
        return owner.but(device=like.device, dtype=like.dtype, pinned=False)
    made = owner.but(pinned=False)
    for node in [*given.positional[:2], *_known(given, "device", "dtype", "other")]:
        made = _moved_by(facts, made, node)
    return made


def _known(given: Arguments, *names: str) -> list[Node]:
    return [given.keywords[name] for name in names if name in given.keywords]


def _moved_by(facts: PythonFacts, value: Value, node: Node) -> Value:
    if (dtype := dtype_of(facts, node)) or facts.code(node).endswith("dtype"):
        return value.but(dtype=dtype)
    if (device := facts.devices.of(node)) is not None:
        return value.but(device=device)
    text = facts.code(node)
    if node.type == "string" and "Tensor" in text:
        return value.but(device=CUDA if "cuda" in text else CPU)
    if node.type == "attribute" and "cuda" in text and text.endswith("Tensor"):
        return value.but(device=CUDA)
    like = facts.tensors.value(node)
    if like.kind == "tensor":
        return value.but(device=like.device, dtype=like.dtype)
    if node.type in ("true", "false", "none"):
        return value
    return value.but(device=UNKNOWN, dtype="")


def _device(facts: PythonFacts, given: Arguments) -> str | None:
    node = given.keywords.get("device")
    return facts.devices.of(node) if node is not None else None


def attribute(owner: Value, name: str) -> Value:
    """An attribute of a tensor, or of something made of tensors."""
    if name in tables.PLAIN_ATTRIBUTES:
        return sequence(NUMBER) if name == "shape" else NUMBER
    if name == "device":
        return Value("device", device=owner.device)
    if name == "dtype":
        return Value("dtype", dtype=owner.dtype)
    if name in tables.TENSOR_ATTRIBUTES and (owner.kind == "tensor" or name == "T"):
        return owner.but(kind="tensor", grad=owner.grad and name not in ("data", "grad"))
    if name in ("data", "grad") and owner.sure:
        return owner
    if name in tables.OUTPUT_TENSORS:
        return tensor(owner.device, "float", sure=owner.sure, scalar=name == "loss")
    if owner.kind == "tensor" and name in ("values", "indices"):
        return tensor(owner.device, "int64" if name == "indices" else owner.dtype)
    return output(owner.device, False, owner.pinned).but(node=owner.node)


def element(owner: Value, index: str, plain: bool) -> Value:
    """`x[index]`: of a tensor, a batch, a tuple, a dict; `index` is its source.

    `plain`: the index is a number, a key or a slice, so that a tensor's element shares its memory.
    """
    if owner.is_tensor:
        return owner.but(scalar=False, pinned=owner.pinned and plain)
    if owner.kind == "sequence":
        if ":" in index:
            return sequence(owner.item)
        if owner.items and index.lstrip("-").isdigit() and -len(owner.items) <= int(index):
            return owner.items[int(index)] if int(index) < len(owner.items) else Value("unknown")
        return owner.item or Value("unknown")
    if owner.kind == "mapping":
        known = (owner.entries or {}).get(index.strip("\"'"))
        return known or owner.item or Value("unknown")
    return owner if owner.kind in ("array", "bottom") else Value("unknown")


def binary(left: Value, right: Value, operator: str) -> Value:
    """An arithmetic operator."""
    tensors = [value for value in (left, right) if value.is_tensor]
    if tensors:
        return _arithmetic(tensors, left, right, operator)
    kinds = {left.kind, right.kind}
    if kinds == {"sequence"}:
        return sequence(join(left.item or Value("bottom"), right.item or Value("bottom")))
    if "text" in kinds:
        return TEXT
    if "array" in kinds and kinds <= {"array", "number", "unknown", "none"}:
        return ARRAY
    if "sequence" in kinds and operator == "*":
        return left if left.kind == "sequence" else right
    return NUMBER if kinds <= {"number", "bottom"} else Value("unknown")


def _arithmetic(tensors: list[Value], left: Value, right: Value, operator: str) -> Value:
    dtypes = [value.dtype for value in tensors]
    others = [value for value in (left, right) if not value.is_tensor]
    plain = all(value.kind in ("number", "bottom", "none") for value in others)
    dtype = promote(*dtypes)
    if dtype and dtype not in ("float", "float32", "float64", "float16", "bfloat16"):
        dtype = "float" if operator == "/" else ("" if others else dtype)
    return tensor(
        join_devices(*(value.device for value in tensors)),
        dtype,
        scalar=plain and all(value.scalar for value in tensors),
        sure=any(value.sure for value in tensors),
        grad=any(value.grad for value in tensors),
    )
