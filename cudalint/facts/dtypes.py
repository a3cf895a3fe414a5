"""Which expression tells the dtype of a tensor where it is filled, and whether it is float32."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_FLOAT32 = lazy_compile(r"\.float\(\)$|\b(?:float32|torch\.float)\b\)?$")
_KEEPS = {"view", "reshape", "unsqueeze", "squeeze", "expand", "contiguous", "clone", "transpose"}


def is_plain(facts: PythonFacts, node: Node) -> bool:
    """Whether an expression can be read twice: a name or attributes of a name."""
    while node.type == "attribute":
        node = node.children[0]
    return node.type == "identifier"


def cast_dtype(facts: PythonFacts, node: Node) -> str | None:
    """The dtype that the casts in an expression give it, as source text; None if not in sight.

    `(1 - mask.to(x.dtype))`, `mask.type_as(x)`, `mask.to(dtype=self.dtype)`; a name is followed to
    the assignment that stands before it in the same block.
    """
    for _ in range(6):
        while node.type == "parenthesized_expression" and node.named_children:
            node = node.named_children[0]
        if node.type == "binary_operator":
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            if left is None or right is None:
                return None
            if right.type in ("integer", "float"):
                node = left
            elif left.type in ("integer", "float"):
                node = right
            else:
                return None
        elif node.type == "subscript":
            node = node.children[0]
        elif node.type == "identifier":
            before = last_assignment(facts, node)
            if before is None:
                return None
            if _casts_to_something(facts, before):
                return f"{facts.code(node)}.dtype"
            node = before
        elif node.type == "call":
            dtype, inner = _cast_call(facts, node)
            if dtype is not None or inner is None:
                return dtype
            node = inner
        else:
            return None
    return None


def _cast_call(facts: PythonFacts, call: Node) -> tuple[str | None, Node | None]:
    """The dtype that a method call gives, else what it is called on where it keeps the dtype."""
    function = call.child_by_field_name("function")
    if function is None or function.type != "attribute":
        return None, None
    method, owner = facts.code(function.children[-1]), function.children[0]
    given = facts.names.arguments(call)
    if method == "float":
        return "torch.float32", None
    if method == "type_as" and given.positional and is_plain(facts, given.positional[0]):
        return f"{facts.code(given.positional[0])}.dtype", None
    if method in ("to", "type"):
        named = given.keywords.get("dtype")
        dtype = named or next((n for n in given.positional if _is_dtype(facts, n)), None)
        if dtype is not None and is_plain(facts, dtype):
            return facts.code(dtype), None
        only_device = method == "to" and named is None and bool(given.keywords.get("device"))
        return None, owner if only_device else None
    return None, owner if method in _KEEPS else None


def _casts_to_something(facts: PythonFacts, node: Node) -> bool:
    """`x.to(dtype=next(self.parameters()).dtype)`: a cast to a dtype that has no name of its own."""
    function = node.child_by_field_name("function") if node.type == "call" else None
    if function is None or function.type != "attribute":
        return False
    dtype = facts.names.arguments(node).keywords.get("dtype")
    is_cast = facts.code(function.children[-1]) == "to" and dtype is not None
    return is_cast and dtype is not None and bool(re.search(r"\.dtype$", facts.code(dtype)))


def _is_dtype(facts: PythonFacts, node: Node) -> bool:
    text = facts.code(node)
    return bool(re.search(r"dtype$|^torch\.(?:float|half|bfloat)\w*$", text))


def last_assignment(facts: PythonFacts, name: Node) -> Node | None:
    """What the nearest statement before a name's own assigns to it, in the same block.

    None where anything else in between may bind it, or the name is bound elsewhere later on.
    """
    statement = facts.names.statement(name)
    spelled = facts.code(name)
    before = statement.prev_named_sibling
    while before is not None:
        made = before.named_children[0] if before.type == "expression_statement" else None
        left = made.child_by_field_name("left") if made is not None else None
        is_assignment = made is not None and made.type == "assignment"
        if made is not None and is_assignment and left is not None and facts.code(left) == spelled:
            return made.child_by_field_name("right")
        if re.search(rf"\b{re.escape(spelled)}\b[^=\n]*=[^=]", facts.code(before)):
            return None
        before = before.prev_named_sibling
    return None


def is_float32(facts: PythonFacts, node: Node) -> bool:
    """Whether a tensor plainly is float32: it, or what its name was last given, is cast to it."""
    if node.type == "identifier":
        before = last_assignment(facts, node)
        return before is not None and bool(_FLOAT32.search(facts.code(before)))
    return bool(_FLOAT32.search(facts.code(node)))
