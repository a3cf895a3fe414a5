"""Finite mask fills: where a large negative number stands for minus infinity."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.constants import number, scalar, uses_of_constant
from cudalint.facts.evidence import (
    is_attention_like,
    is_comparison,
    is_foreign,
    is_mask_like,
    is_precision_branch,
    is_repair,
    reaches_softmax,
    target_name,
)
from cudalint.facts.mask_products import (
    counts_down,
    is_compared_score,
    is_mask_factor,
    is_subtracted,
    like,
    makes_ones,
)
from cudalint.rare import Rare
from cudalint.registry import LARGE as WRITTEN
from cudalint.registry import NUMBER_WORDS

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

LARGE = 1e4
LEAST = 1e3  # between the two only what plainly is a mask counts
# Numbers as people write them for this; the sieve's words in the registry are parts of these.
_NUMBER = Rare(
    NUMBER_WORDS,
    rb"(?<![\w.])(?:\d[\d_]*\.?\d*[eE]\+?\d+|[\d_]+000(?:\.\d*)?|655\d\d(?:\.\d*)?|9{4,}\.?\d*"
    rb"|2\s*\*\*\s*\d+)|[\"']-?\d[\d.]*e\d+[\"']",
)
_DEPTH = 3
_TRIANGLES = {"triu", "tril", "triu_", "tril_"}


class Fill(NamedTuple):
    """One fill of masked places with a finite number.

    `kind`: masked_fill, where, product (of a mask and the number), index (`x[mask] = …`) or full (a
    tensor of the number that becomes a mask). `constant` is the expression that stands for the
    number in the operation, `value` the number, `operation` the call, product or assignment, and
    `tensor` what is filled, where that is one expression (the mask of a product). `optional`: the
    number is the default of a parameter, so callers may pass another.
    """

    kind: str
    constant: Node
    value: float
    operation: Node
    tensor: Node | None = None
    optional: bool = False


def fills(facts: PythonFacts) -> Iterator[Fill]:
    """Every finite mask fill of the file, once an operation."""
    seen: set[int] = set()
    for constant, value in _constants(facts):
        for fill in _consumers(facts, constant, value, _DEPTH):
            new = fill.operation.id not in seen
            seen.add(fill.operation.id)
            if new and not is_precision_branch(facts, constant) and _is_torch(facts, fill):
                yield fill


def _is_torch(facts: PythonFacts, fill: Fill) -> bool:
    return not is_precision_branch(facts, fill.operation) and not is_foreign(facts, fill.operation)


def _constants(facts: PythonFacts) -> Iterator[tuple[Node, float]]:
    """The largest constant expressions around the numbers of the file that are large enough."""
    seen: set[int] = set()
    for start, end in _numbers(facts):
        node = facts.at(start, end - 1)
        while node is not None and node.type in ("string_content", "string_start", "string_end"):
            node = node.parent
        if node is None or node.type in ("comment", "module", "block", "ERROR"):
            continue
        constant = _whole(facts, node)
        value = scalar(facts, constant)
        if value is not None and abs(value) >= LEAST and constant.id not in seen:
            seen.add(constant.id)
            yield constant, value


def _numbers(facts: PythonFacts) -> Iterator[tuple[int, int]]:
    """Where numbers stand that may fill: taken off, multiplied, given a name, or in a string."""
    (written,) = WRITTEN
    ends: dict[int, int] = {match.start(): match.end() for match in written.finditer(facts.text)}
    starts = facts.places(written)
    for match in _NUMBER.finditer(facts.text):
        before = bisect_right(starts, match.start())
        if before and match.start() <= ends[starts[before - 1]] and not _is_small(match):
            yield match.span()


def _is_small(match: re.Match[bytes]) -> bool:
    """Whether a number is too small, and no factor of a larger one: `1e2`."""
    start, end = match.span()
    beside = match.string[max(start - 2, 0) : start] + match.string[end : end + 2]
    try:
        return abs(float(match.group().strip(b"\"'"))) < LEAST and b"*" not in beside
    except ValueError:
        return False


def _whole(facts: PythonFacts, node: Node) -> Node:
    """The largest expression around a number that is still a constant."""
    best, parent = node, node.parent
    while parent is not None and parent.type not in ("block", "module"):
        if parent.type in ("argument_list", "attribute", "keyword_argument"):
            parent = parent.parent
            continue
        value = scalar(facts, parent)
        if value is None and number(facts, best) is not None:
            break
        if value is not None:
            best = parent
        elif parent.type not in ("call", "string"):
            break
        parent = parent.parent
    return best


def _consumers(facts: PythonFacts, node: Node, value: float, depth: int) -> Iterator[Fill]:
    """The fills that read a constant, followed through names and attributes."""
    parent = node.parent
    while parent is not None and parent.type == "parenthesized_expression":
        node, parent = parent, parent.parent
    if parent is None:
        return
    if parent.type in ("argument_list", "keyword_argument"):
        yield from _in_call(facts, node, parent, value)
    elif parent.type == "binary_operator":
        yield from _in_product(facts, node, parent, value, depth)
    elif parent.type == "augmented_assignment":
        yield from _in_place(facts, node, parent, value)
    elif parent.type == "assignment" and parent.child_by_field_name("right") == node:
        yield from _into_index(facts, node, parent, value)
    optional = parent.type in ("default_parameter", "typed_default_parameter")
    for use in uses_of_constant(facts, node) if depth > 0 else ():
        for fill in _consumers(facts, use, value, depth - 1):
            yield fill._replace(optional=fill.optional or optional)


# -- calls ----------------------------------------------------------------------------------------


def _in_call(facts: PythonFacts, node: Node, parent: Node, value: float) -> Iterator[Fill]:
    call = parent.parent
    if parent.type == "keyword_argument":
        call = call.parent if call is not None else None
    function = call.child_by_field_name("function") if call is not None else None
    if call is None or call.type != "call" or function is None:
        return
    given = facts.names.arguments(call)
    callee = facts.names.callee(call)
    method = facts.code(function.children[-1]) if function.type == "attribute" else ""
    receiver = function.children[0] if callee is None and method else None
    if method in ("masked_fill", "masked_fill_") and receiver is not None:
        if given.get("value", 1) == node:
            yield from _masked_fill(facts, node, call, receiver, value)
    elif callee == "torch.masked_fill":
        tensor = given.get("input", 0)
        if given.get("value", 2) == node and tensor is not None:
            yield from _masked_fill(facts, node, call, tensor, value)
    elif callee == "torch.where" or (method == "where" and receiver is not None):
        yield from _where(facts, node, call, receiver, value)
    elif callee in ("torch.full", "torch.full_like") or method in ("new_full", "fill_"):
        yield from _filled(facts, node, call, value, given.get("input", 0) or receiver)


def _masked_fill(
    facts: PythonFacts, node: Node, call: Node, tensor: Node, value: float
) -> Iterator[Fill]:
    """`x.masked_fill(mask, -1e9)`: a mask by its very name."""
    plain = value <= -LARGE or is_attention_like(facts, tensor, target_name(facts, call))
    ids = (
        re.search(r"label|target|(?:\b|_)ids?\b|index|indices|position", facts.code(tensor))
        is not None
    )
    if value < 0 and plain and not ids:
        yield Fill("masked_fill", node, value, call, tensor)


def _where(
    facts: PythonFacts, node: Node, call: Node, receiver: Node | None, value: float
) -> Iterator[Fill]:
    """`torch.where(mask, x, -1e9)` and `x.where(mask, -1e9)`, with the number in either branch."""
    given = facts.names.arguments(call)
    if receiver is not None:
        condition, branches = given.get("condition", 0), [receiver, given.get("other", 1)]
    else:
        branches = [given.get("input", 1), given.get("other", 2)]
        condition = given.get("condition", 0)
    if condition is None or value >= 0 or node not in branches:
        return
    other = branches[0] if branches[1] == node else branches[1]
    if other is not None and _is_mask_choice(facts, call, condition, other, value):
        keep = scalar(facts, other) is None
        yield Fill("where", node, value, call, other if keep else None)


def _is_mask_choice(
    facts: PythonFacts, call: Node, condition: Node, other: Node, value: float
) -> bool:
    if is_repair(facts, condition):
        return False
    masked = is_mask_like(facts, condition)
    if masked and value <= -LARGE:
        return True
    if scalar(facts, other) == 0.0 or (masked and scalar(facts, other) is not None):
        return True
    return reaches_softmax(facts, call) or (
        value <= -LARGE and is_attention_like(facts, other, target_name(facts, call))
    )


# -- products -------------------------------------------------------------------------------------


def _in_product(
    facts: PythonFacts, node: Node, product: Node, value: float, depth: int
) -> Iterator[Fill]:
    """`(1.0 - mask) * -10000.0`, `scores - 1e9 * mask`, `-9e15 * torch.ones_like(e)`."""
    sign = product.child_by_field_name("operator")
    left, right = product.child_by_field_name("left"), product.child_by_field_name("right")
    if sign is None or sign.type != "*" or left is None or right is None:
        return
    other = right if left == node else left
    if makes_ones(facts, other):
        if value < 0:
            yield from _filled(facts, node, product, value, like(facts, other))
        return
    if value > 0 and not (is_subtracted(product) or counts_down(facts, other)):
        return
    compared = abs(value) >= LARGE and is_compared_score(facts, product, other)
    if compared or is_mask_factor(facts, product, other):
        yield Fill("product", node, value, product, other)


def _in_place(facts: PythonFacts, node: Node, statement: Node, value: float) -> Iterator[Fill]:
    left = statement.child_by_field_name("left")
    product = statement.children[1].type == "*="
    if left is not None and product and value < 0 and is_mask_like(facts, left, strict=True):
        yield Fill("product", node, value, statement, left)


# -- whole tensors and indices --------------------------------------------------------------------


def _into_index(facts: PythonFacts, node: Node, statement: Node, value: float) -> Iterator[Fill]:
    """`scores[mask == 0] = -1e9`."""
    target = statement.child_by_field_name("left")
    base = target.child_by_field_name("value") if target is not None else None
    if target is None or target.type != "subscript" or base is None or value > -LEAST:
        return
    indices = target.children_by_field_name("subscript")
    masked = any(is_mask_like(facts, index) for index in indices)
    compared = any(is_comparison(facts, index) for index in indices)
    plain = value <= -LARGE and masked
    in_mask = is_mask_like(facts, base, strict=True) and (masked or compared)
    if plain or in_mask or (compared and is_attention_like(facts, base, "")):
        yield Fill("index", node, value, statement, base)


def _filled(
    facts: PythonFacts, node: Node, filled: Node, value: float, like: Node | None
) -> Iterator[Fill]:
    """A tensor full of the number: a mask if it is cut to a triangle, named one, or chosen by one."""
    whole, parent = filled, filled.parent
    while parent is not None and parent.type in ("attribute", "call", "argument_list"):
        function = parent.child_by_field_name("function") if parent.type == "call" else None
        if function is not None:
            name = facts.code(function).rpartition(".")[2]
            if name in _TRIANGLES:
                yield Fill("full", node, value, filled, like)
                return
            if (facts.names.callee(parent) or "torch.where") == "torch.where" and name == "where":
                for fill in _chosen(facts, whole, parent, value):
                    yield fill._replace(constant=node, tensor=like)
                return
        whole, parent = parent, parent.parent
    if value < 0:
        yield from _named_fill(facts, node, filled, value, like)


def _chosen(facts: PythonFacts, whole: Node, call: Node, value: float) -> Iterator[Fill]:
    function = call.child_by_field_name("function")
    callee = facts.names.callee(call)
    receiver = function.children[0] if function is not None and callee is None else None
    while whole.parent is not None and whole.parent.type != "argument_list":
        whole = whole.parent
    node = whole
    if node.parent is not None and node.parent.parent == call:
        yield from _where(facts, node, call, receiver, value)


def _named_fill(
    facts: PythonFacts, node: Node, filled: Node, value: float, like: Node | None
) -> Iterator[Fill]:
    name = target_name(facts, filled)
    receiver = like if facts.code(filled).rstrip().endswith(")") else None
    in_place = receiver is not None and b".fill_" in (filled.text or b"")
    if in_place and receiver is not None and is_mask_like(facts, receiver, strict=True):
        yield Fill("full", node, value, filled, receiver)
        return
    if re.search(r"mask|causal|attn_bias|attention_bias", name):
        yield Fill("full", node, value, filled, like)
        return
    for use in uses_of_constant(facts, filled):
        parent = use.parent
        call = parent.parent if parent is not None and parent.type == "argument_list" else None
        if call is not None and facts.names.callee(call) == "torch.where":
            for _ in _where(facts, use, call, None, value):
                yield Fill("full", node, value, filled, like)
                return
