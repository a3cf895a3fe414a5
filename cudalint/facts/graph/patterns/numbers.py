"""Whether a factor is a Python number: by the graph, and by what `__init__` gives `self.x`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.pool import NUMBERS, is_scalar
from cudalint.facts.graph.values import Value
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.classes import Class
    from cudalint.facts.python import PythonFacts

_SIZE = lazy_compile(r"dim|size|channels|width|depth|^d_?(?:k|q|h|model|head)$|heads?_d")
_NUMERIC = frozenset({"int", "float", "bool"})


def is_python_number(
    facts: PythonFacts, holder: Class | None, function: Node, value: Value
) -> bool:
    """Whether a value is provably a Python number and no tensor."""
    if is_scalar(value) or value.op in NUMBERS:
        return True
    if value.op == "pow" and len(value.operands) == 1:
        return _is_size(facts, holder, value.operands[0]) or is_python_number(
            facts, holder, function, value.operands[0]
        )
    if value.op in ("add", "mul", "pow", "floordiv", "phi", "any_of"):
        parts = value.operands[1:] if value.op == "phi" else value.operands
        return all(is_python_number(facts, holder, function, part) for part in parts)
    if value.op == "input":
        return _is_numeric_parameter(facts, function, str(value.attrs[0]))
    if value.op == "self" and holder is not None:
        node = holder.assigned(str(value.attrs[0]))
        return node is not None and is_numeric(facts, node, holder)
    return False


def _is_size(facts: PythonFacts, holder: Class | None, base: Value) -> bool:
    """What a root is taken of: a setting that `__init__` keeps, or something called a size."""
    if base.op == "self" and holder is not None:
        node = holder.assigned(str(base.attrs[0]))
        if node is not None:
            return _is_part(facts, node, holder, 8)
    name = str(base.attrs[0]) if base.op in ("self", "input", "attr") else ""
    return _SIZE.search(name) is not None


def _is_numeric_parameter(facts: PythonFacts, function: Node, name: str) -> bool:
    for binding in facts.names.inner(function).bindings.get(name, ()):
        if binding.kind != "param":
            continue
        if binding.annotation is not None:
            words = facts.code(binding.annotation).replace("Optional", "").replace("None", "")
            return words.strip("[]| ") in _NUMERIC
        return binding.value is not None and binding.value.type in ("integer", "float")
    return False


def is_numeric(facts: PythonFacts, node: Node, holder: Class | None = None, depth: int = 8) -> bool:
    """Whether an expression of a constructor is a number: arithmetic on sizes and settings."""
    kind = node.type
    if kind in ("integer", "float"):
        return True
    if depth == 0:
        return False
    if kind in (
        "parenthesized_expression",
        "unary_operator",
        "boolean_operator",
        "binary_operator",
    ):
        parts = [child for child in node.named_children if child.type != "comment"]
        return bool(parts) and all(_is_part(facts, part, holder, depth - 1) for part in parts)
    if kind == "conditional_expression":
        return all(_is_part(facts, node.named_children[at], holder, depth - 1) for at in (0, -1))
    if kind == "call":
        path = facts.names.callee(node) or ""
        return path.startswith(("math.", "numpy.sqrt")) or path in (
            "builtins.int",
            "builtins.float",
        )
    if kind == "identifier":
        found = facts.names.lookup(node)
        bound = found[1][0] if found is not None and len(found[1]) == 1 else None
        if bound is None:
            return False
        if bound.kind == "param":
            scope = facts.names.enclosing(node, "function_definition")
            return scope is not None and _is_numeric_parameter(facts, scope, facts.code(node))
        return bound.value is not None and is_numeric(facts, bound.value, holder, depth - 1)
    if kind == "attribute" and holder is not None and facts.code(node).startswith("self."):
        value = holder.assigned(facts.code(node)[5:])
        return value is not None and is_numeric(facts, value, holder, depth - 1)
    return False


def _is_part(facts: PythonFacts, node: Node, holder: Class | None, depth: int) -> bool:
    """An operand of arithmetic in a constructor: a parameter or a setting is a number there."""
    if is_numeric(facts, node, holder, depth):
        return True
    if node.type == "identifier":
        found = facts.names.lookup(node)
        return found is not None and found[1][0].kind == "param"
    if node.type == "attribute":
        root = node
        while root.type == "attribute":
            root = root.named_children[0]
        return root.type == "identifier" and facts.names.qualified(node) is None
    return False
