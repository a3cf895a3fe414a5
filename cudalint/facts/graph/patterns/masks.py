"""Masks: which part of the scores they leave, and whether that is the causal triangle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.pool import constant, is_const, is_number, number
from cudalint.facts.graph.values import Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.classes import Class
    from cudalint.facts.python import PythonFacts

_SHAPING = frozenset({"cast", "unsqueeze", "view", "to_device", "expand", "detach"})


def is_infinite(fill: Value) -> bool:
    """Whether a fill is minus infinity: `float("-inf")`, `-torch.inf`, `-math.inf`, `-np.inf`."""
    if fill.op == "number" and fill.operands and is_const(fill.operands[0], "-inf"):
        return True
    if fill.op == "const" and fill.attrs[1] in ("-inf", float("-inf")):
        return True
    if fill.op != "mul" or not any(is_const(part, -1) for part in fill.operands):
        return False
    base = next(part for part in fill.operands if not is_const(part, -1))
    if base.op == "number" and base.operands and constant(base.operands[0]) in ("inf", "infinity"):
        return True
    return base.op == "global" and str(base.attrs[0]).endswith((".inf", ".Inf", ".infty"))


def is_large_negative(fill: Value) -> bool:
    """Whether a fill stands for minus infinity: a large number, or the least of a dtype."""
    if is_number(fill):
        return number(fill) <= -1e3
    stack = [fill]
    while stack:
        at = stack.pop()
        if at.op == "finfo" or is_infinite(at):
            return True
        if at.op in ("mul", "cast", "torch.tensor", "torch.full", "to_device", "number"):
            stack.extend(at.operands)
    return False


def is_triangle(
    facts: PythonFacts, holder: Class | None, mask: Value, rows: Value, columns: Value, upper: bool
) -> bool:
    """Whether a mask is the square triangle of this length: strictly above the diagonal if `upper`.

    `rows` and `columns` are the lengths of queries and keys; the triangle is causal attention's
    only where they are one value.
    """
    if rows is not columns:
        return False
    at = mask
    while True:
        if at.op in _SHAPING:
            at = at.operands[0]
        elif at.op == "not" or (at.op == "eq" and _is_zero(at.operands[1])):
            at, upper = at.operands[0], not upper
        elif at.op in ("ne", "eq") and (_is_zero(at.operands[1]) or _is_one(at.operands[1])):
            at = at.operands[0]
        elif at.op == "index":
            if not _squares(at, rows):
                return False
            return _is_buffer(facts, holder, at.operands[0], upper)
        else:
            return _is_made(at, rows, upper)


def _is_zero(value: Value) -> bool:
    return is_const(value, 0) or is_const(value, False)


def _is_one(value: Value) -> bool:
    return is_const(value, 1) or is_const(value, True)


def _is_made(value: Value, length: Value, upper: bool) -> bool:
    """`torch.triu(torch.ones(n, n), 1)` or `torch.tril(torch.ones(n, n))` of this length."""
    if value.op != ("torch.triu" if upper else "torch.tril"):
        return False
    diagonal = value.operands[1] if len(value.operands) > 1 else None
    if not (is_const(diagonal, 1) if upper else diagonal is None or is_const(diagonal, 0)):
        return False
    inner = value.operands[0]
    while inner.op in _SHAPING:
        inner = inner.operands[0]
    if inner.op not in ("torch.ones", "torch.full"):
        return False
    sizes = list(inner.operands[:2])
    if sizes and sizes[0].op == "tuple":
        sizes = list(sizes[0].operands)
    return len(sizes) == 2 and all(size is length for size in sizes)


def is_infinite_triangle(value: Value, length: Value) -> bool:
    """`torch.triu(torch.full((n, n), -inf), 1)`, to be added."""
    if not _is_made(value, length, True):
        return False
    inner = value.operands[0]
    return inner.op == "torch.full" and any(is_infinite(part) for part in inner.operands)


def _squares(index: Value, length: Value) -> bool:
    """Whether the last two indices are `:length, :length`, and those before take all or one."""
    found = index.operands[1:]
    if len(found) < 2 or any(at.op == "slice" and not _is_whole(at) for at in found[:-2]):
        return False
    for at in found[-2:]:
        if at.op != "slice" or at.operands[1] is not length:
            return False
        if not (is_const(at.operands[0], None) or is_const(at.operands[0], 0)):
            return False
        if not is_const(at.operands[2], None):
            return False
    return True


def _is_whole(at: Value) -> bool:
    return all(is_const(part, None) for part in at.operands)


def _is_buffer(facts: PythonFacts, holder: Class | None, value: Value, upper: bool) -> bool:
    """Whether `self.mask` is a triangle that `__init__` makes and nothing else writes."""
    while value.op in _SHAPING:
        value = value.operands[0]
    if value.op != "self" or holder is None:
        return False
    node = _made_by(facts, holder.assigned(str(value.attrs[0])))
    while node is not None and node.type == "call":
        function = node.child_by_field_name("function")
        if function is None:
            return False
        if facts.names.callee(node) in ("torch.tril", "torch.triu"):
            return _is_triangle_call(facts, node, upper)
        if function.type != "attribute":
            return False
        name = facts.code(function.named_children[-1])
        if name in ("tril", "triu"):
            return _is_triangle_call(facts, node, upper, function.named_children[0])
        if name not in (
            "view",
            "reshape",
            "unsqueeze",
            "bool",
            "to",
            "float",
            "byte",
            "contiguous",
        ):
            return False
        node = _made_by(facts, function.named_children[0])
    return False


def _made_by(facts: PythonFacts, node: Node | None) -> Node | None:
    """The expression behind a local name that is bound once and read here alone."""
    if node is None or node.type != "identifier":
        return node
    found = facts.flow.reaching(node)
    if len(found) != 1 or found[0].kind != "assign":
        return None
    function = facts.names.enclosing(node, "function_definition")
    if function is None:
        return None
    span = range(function.start_byte, function.end_byte)
    named = [at for at in facts.identifiers(facts.code(node)) if at.start_byte in span]
    return found[0].value if len(named) == 2 else None  # a third could write into it


def _is_triangle_call(
    facts: PythonFacts, call: Node, upper: bool, owner: Node | None = None
) -> bool:
    given = facts.names.arguments(call)
    parts = [owner, *given.positional] if owner is not None else list(given.positional)
    diagonal = given.keywords.get("diagonal") or (parts[1] if len(parts) > 1 else None)
    kind = facts.names.callee(call) or facts.code(call.named_children[0])
    above = "1" if diagonal is not None and facts.code(diagonal) == "1" else "0"
    plain = diagonal is None or facts.code(diagonal) in ("0", "1")
    if not plain or not parts or (kind.endswith("triu") and above == "1") != upper:
        return False
    if kind.endswith("tril") and (upper or above == "1"):
        return False
    ones = _made_by(facts, parts[0])
    if ones is None or ones.type != "call" or facts.names.callee(ones) != "torch.ones":
        return False
    sizes = facts.names.arguments(ones).positional
    if len(sizes) == 1 and sizes[0].type in ("tuple", "list"):
        sizes = sizes[0].named_children
    return len(sizes) == 2 and facts.code(sizes[0]) == facts.code(sizes[1])
