"""Number constants: what an expression evaluates to, and where a constant is used by name."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.names import Scope
    from cudalint.facts.python import PythonFacts

_DEPTH = 8
_OPERATORS: dict[str, Callable[[float, float], object]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
_CASTS = {"builtins.float", "builtins.int"}
_SCALARS = {
    "torch.tensor",
    "torch.as_tensor",
    "torch.scalar_tensor",
    "torch.nn.Parameter",
    "torch.nn.Buffer",
    "torch.nn.parameter.Buffer",
    "numpy.float32",
    "numpy.float64",
}
_KEEPS = {"to", "type", "type_as", "cuda", "float", "half", "bfloat16", "item", "expand", "view"}


def number(facts: PythonFacts, node: Node | None, depth: int = _DEPTH) -> float | None:
    """The finite number that an expression of literals stands for (`-2**32 + 1`, `float("1e9")`)."""
    if node is None or depth == 0:
        return None
    if node.type in ("integer", "float"):
        return _literal(facts.code(node))
    if node.type == "parenthesized_expression":
        inner = [child for child in node.named_children if child.type != "comment"]
        return number(facts, inner[0], depth - 1) if len(inner) == 1 else None
    if node.type == "unary_operator":
        value = number(facts, node.child_by_field_name("argument"), depth - 1)
        sign = -1.0 if facts.text[node.start_byte : node.start_byte + 1] == b"-" else 1.0
        return None if value is None else sign * value
    if node.type == "binary_operator":
        return _arithmetic(facts, node, depth)
    if node.type == "call" and facts.names.callee(node) in _CASTS:
        given = facts.names.arguments(node).positional
        return _cast(facts, given[0], depth) if len(given) == 1 else None
    return None


def scalar(facts: PythonFacts, node: Node | None) -> float | None:
    """As `number`, and for a tensor of no dimension made from one (`torch.tensor(-1e9).to(x)`)."""
    for _ in range(_DEPTH):
        if node is None or node.type != "call":
            break
        function = node.child_by_field_name("function")
        given = facts.names.arguments(node)
        callee = facts.names.callee(node)
        if callee in _SCALARS:
            node = given.get("data", 0)
        elif callee == "torch.full" and _is_single(facts, given.get("size", 0)):
            node = given.get("fill_value", 1)
        elif function is not None and function.type == "attribute":
            method = facts.code(function.children[-1])
            if method == "new_tensor":
                node = given.get("data", 0)
            elif method in _KEEPS:
                node = function.children[0]
            else:
                break
        else:
            break
    return number(facts, node)


def uses_of_constant(facts: PythonFacts, value: Node) -> Iterator[Node]:
    """Where the name or `self.NAME` that a constant is assigned to is read; none if rebound."""
    holder = value.parent
    if holder is None:
        return
    if holder.type in ("default_parameter", "typed_default_parameter"):
        function = facts.names.enclosing(holder, "function_definition", "lambda")
        if function is not None:
            name = holder.child_by_field_name("name")
            yield from _reads(facts, name, facts.names.inner(function))
    elif holder.type == "assignment" and holder.child_by_field_name("right") == value:
        target = holder.child_by_field_name("left")
        if target is not None and target.type == "identifier":
            yield from _reads(facts, target)
            yield from _class_reads(facts, target)
        elif target is not None and target.type == "attribute":
            yield from _attribute_reads(facts, target.children[-1], target)
    elif (buffer := _buffer_name(facts, value)) is not None:
        yield from _named_attribute_reads(facts, *buffer)


def _literal(text: str) -> float | None:
    try:
        value = float(int(text, 0)) if text[:2] in ("0x", "0b", "0o") else float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _arithmetic(facts: PythonFacts, node: Node, depth: int) -> float | None:
    left = number(facts, node.child_by_field_name("left"), depth - 1)
    right = number(facts, node.child_by_field_name("right"), depth - 1)
    sign = node.child_by_field_name("operator")
    if left is None or right is None or sign is None:
        return None
    apply = _OPERATORS.get(sign.type)
    if apply is None:
        return None
    try:
        value = apply(left, right)
    except (ArithmeticError, ValueError):
        return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def _cast(facts: PythonFacts, given: Node, depth: int) -> float | None:
    if given.type == "string":
        return _literal(facts.code(given).strip("\"'"))
    return number(facts, given, depth - 1)


def _is_single(facts: PythonFacts, size: Node | None) -> bool:
    return size is not None and facts.code(size) in ("()", "[]", "1", "(1,)", "[1]")


def _reads(facts: PythonFacts, target: Node | None, scope: Scope | None = None) -> Iterator[Node]:
    if target is None:
        return
    name = facts.code(target)
    found = facts.names.lookup_name(name, scope or facts.names.scope(target))
    if found is None or len(found[1]) != 1:
        return
    for node in facts.identifiers(name):
        if node.id != target.id and is_read(node):
            other = facts.names.lookup(node)
            if other is not None and other[0] is found[0]:
                yield through_casts(facts, node)


def through_casts(facts: PythonFacts, node: Node) -> Node:
    """`NAME.to(x.dtype)` for a NAME: the largest expression with the same number in it."""
    while (owner := node.parent) is not None and owner.type == "attribute":
        call = owner.parent
        is_cast = facts.code(owner.children[-1]) in _KEEPS and owner.children[0] == node
        if not is_cast or call is None or call.type != "call" or call.children[0] != owner:
            break
        node = call
    return node


def is_read(node: Node) -> bool:
    """Whether an identifier is a name that is read: no keyword, attribute or assignment target."""
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "attribute":
        return parent.child_by_field_name("attribute") != node
    if parent.type in ("keyword_argument", "default_parameter", "typed_default_parameter"):
        return parent.child_by_field_name("name") != node
    return not (parent.type == "assignment" and parent.child_by_field_name("left") == node)


def _class_reads(facts: PythonFacts, target: Node) -> Iterator[Node]:
    """`self.NAME` for a constant in a class's body."""
    if facts.names.scope(target).kind == "class":
        yield from _attribute_reads(facts, target, target)


def _attribute_reads(facts: PythonFacts, name: Node, target: Node) -> Iterator[Node]:
    holder = facts.names.enclosing(target, "class_definition")
    if holder is None:
        return
    values = facts.names.attributes(holder).get(facts.code(name), [])
    if len(values) <= 1:
        yield from _named_attribute_reads(facts, facts.code(name), holder)


def _named_attribute_reads(facts: PythonFacts, name: str, holder: Node) -> Iterator[Node]:
    for node in facts.identifiers(name, inside=holder):
        owner = node.parent
        if owner is None or owner.type != "attribute" or owner.children[-1] != node:
            continue
        if facts.code(owner.children[0]) in ("self", "cls") and is_read(owner):
            yield through_casts(facts, owner)


def _buffer_name(facts: PythonFacts, value: Node) -> tuple[str, Node] | None:
    """The name in `self.register_buffer("NAME", value)`, and the class around it."""
    call = value.parent.parent if value.parent is not None else None
    function = call.child_by_field_name("function") if call is not None else None
    if call is None or call.type != "call" or function is None:
        return None
    given = facts.names.arguments(call).positional
    holder = facts.names.enclosing(call, "class_definition")
    is_buffer = facts.code(function) == "self.register_buffer" and len(given) > 1
    if not is_buffer or holder is None or given[0].type != "string" or given[1] != value:
        return None
    return facts.code(given[0]).strip("\"'"), holder
