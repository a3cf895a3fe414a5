"""Evidence that a tensor is a mask or attention scores: by names, comparisons and use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_MASK = lazy_compile(
    r"mask|(?<![a-z])pad(?:ding|ded|s)?(?![a-z])|causal|tril|triu|^adj|valid|keep", re.I
)
_STRICT = lazy_compile(r"mask|padding|causal|tril|triu", re.I)
_NUMERIC = lazy_compile(
    r"loss|weight|coef|rate|ratio|prob|token|size|len|num|count|value|scale", re.I
)
_SCORES = lazy_compile(
    r"att|score|logit|sim(?!ul|pl)|dots?\b|energy|\bqk|weights|mask|lprobs", re.I
)
_SOFTMAX = lazy_compile(r"softmax|logsumexp|Categorical")
_EXTREME = lazy_compile(r"worst|best|(?<![a-z])m(?:ax|in)(?![a-z])", re.I)
_REPAIR = lazy_compile(r"isnan|isinf|isfinite")
_PRECISION = lazy_compile(
    r"dtype(?!.*\b(?:bool|u?int\d*|long)\b)|fp16|\bhalf\b|_half|float16|bf16|is_floating|\bamp\b|autocast|precision",
    re.I | re.S,
)
_FOREIGN = (
    "tensorflow",
    "jax",
    "numpy",
    "mlx",
    "paddle",
    "keras",
    "flax",
    "cupy",
    "triton",
    "cutlass",
    "cuda",
    "mxnet",
)
_DEVICE_CODE = lazy_compile(rb"\bjit\b|\bkernel\b|cute\.")
_LIMIT = 400


def _nodes(node: Node) -> Iterator[Node]:
    """The node and what is under it, breadth first and bounded."""
    queue = [node]
    for at in queue:
        yield at
        if len(queue) < _LIMIT:
            queue.extend(at.named_children)


def is_mask_like(facts: PythonFacts, node: Node, strict: bool = False) -> bool:
    """Whether an expression speaks of a mask by its names; `strict`: of nothing but a mask."""
    for at in _nodes(node):
        if at.type != "identifier":
            continue
        name = facts.code(at)
        if strict and _STRICT.search(name) and not _NUMERIC.search(name):
            return True
        if not strict and _MASK.search(name):
            return True
    return False


def is_repair(facts: PythonFacts, condition: Node) -> bool:
    """Whether a condition looks for NaN or infinities: what it fills is no masked place."""
    return _REPAIR.search(facts.code(condition)) is not None


def is_comparison(facts: PythonFacts, node: Node) -> bool:
    """Whether an expression is, or casts, the result of comparing tensors."""
    for at in _nodes(node):
        if at.type == "comparison_operator":
            return True
        if at.type == "unary_operator" and at.children[0].type == "~":
            return True
        if at.type == "attribute" and facts.code(at.children[-1]) in ("eq", "ne", "isnan", "bool"):
            return True
    return False


def is_attention_like(facts: PythonFacts, node: Node, target: str) -> bool:
    """Whether a tensor, or the name that it is assigned to, is called as scores are."""
    if _EXTREME.search(target):
        return False
    if _SCORES.search(target):
        return True
    names = (facts.code(at) for at in _nodes(node) if at.type == "identifier")
    return any(_SCORES.search(name) for name in names)


def target_name(facts: PythonFacts, node: Node) -> str:
    """The name that the statement of an expression assigns to, or ""."""
    parent = node.parent
    while parent is not None and parent.type not in ("block", "module", "argument_list"):
        if parent.type == "assignment":
            left = parent.child_by_field_name("left")
            return facts.code(left) if left is not None else ""
        if parent.type == "call" and parent.child_by_field_name("function") is None:
            return ""
        parent = parent.parent
    return ""


def reaches_softmax(facts: PythonFacts, node: Node) -> bool:
    """Whether an expression, or the name it is assigned to, is an operand of a softmax."""
    if _in_softmax(facts, node):
        return True
    name = target_name(facts, node)
    if not name.isidentifier():
        return False
    here = facts.names.enclosing(node, "function_definition")
    uses = facts.identifiers(name, inside=here)
    return any(use.start_byte >= node.end_byte and _in_softmax(facts, use) for use in uses)


def _in_softmax(facts: PythonFacts, node: Node) -> bool:
    parent = node.parent
    while parent is not None and not parent.type.endswith(("statement", "block", "assignment")):
        if parent.type == "call":
            function = parent.child_by_field_name("function")
            if function is not None and _SOFTMAX.search(facts.code(function)[-200:]):
                return True
        parent = parent.parent
    return False


def is_precision_branch(facts: PythonFacts, node: Node) -> bool:
    """Whether a test on the dtype chose this code: the number fits there on purpose."""
    child, parent = node, node.parent
    while parent is not None and parent.type != "function_definition":
        test = None
        if parent.type in ("if_statement", "elif_clause"):
            test = parent.child_by_field_name("condition")
        elif parent.type == "conditional_expression" and len(parent.named_children) > 1:
            test = parent.named_children[1]
        if test is not None and test.id != child.id and _PRECISION.search(facts.code(test)):
            return True
        child, parent = parent, parent.parent
    return False


def is_foreign(facts: PythonFacts, operation: Node) -> bool:
    """Whether an operation is another library's, or stands in device code (Triton, CuTe)."""
    function = facts.names.enclosing(operation, "function_definition")
    holder = function.parent if function is not None else None
    if holder is not None and holder.type == "decorated_definition":
        marks = [child for child in holder.children if child.type == "decorator"]
        if any(_DEVICE_CODE.search(mark.text or b"") for mark in marks):
            return True
    for at in _nodes(operation):
        if at.type == "identifier":
            path = facts.names.qualified(at) or ""
            if path.partition(".")[0] in _FOREIGN:
                return True
    return False
