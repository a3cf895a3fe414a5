"""Products of a mask and a large number: which factor is a mask, and which sign it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.constants import number
from cudalint.facts.evidence import (
    is_attention_like,
    is_comparison,
    is_mask_like,
    target_name,
)

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_SHAPES = {"torch.ones_like", "torch.ones", "torch.full_like", "torch.full"}
_SHAPE_METHODS = {"new_ones", "new_full", "fill_"}


def is_subtracted(product: Node) -> bool:
    """Whether a product, or a product that it is a factor of, is the right side of a minus."""
    node, parent = product, product.parent
    while parent is not None and parent.type in ("binary_operator", "parenthesized_expression"):
        sign = parent.child_by_field_name("operator")
        if sign is not None and sign.type == "-":
            return parent.child_by_field_name("right") == node
        if sign is not None and sign.type != "*":
            return False
        node, parent = parent, parent.parent
    in_place = parent is not None and parent.type == "augmented_assignment"
    return bool(in_place and parent and parent.children[1].type == "-=")


def counts_down(facts: PythonFacts, node: Node) -> bool:
    """`(mask - 1)`: zero where kept, minus one where masked."""
    while node.type == "parenthesized_expression" and node.named_children:
        node = node.named_children[0]
    sign = node.child_by_field_name("operator") if node.type == "binary_operator" else None
    one = number(facts, node.child_by_field_name("right")) if sign is not None else None
    return sign is not None and sign.type == "-" and one == 1.0


def is_mask_factor(facts: PythonFacts, product: Node, node: Node) -> bool:
    """What is a mask of zeros and ones when it is multiplied, by its name or by its other half."""
    return is_mask_like(facts, node, strict=True) or _is_other_half(facts, product, node)


def is_compared_score(facts: PythonFacts, product: Node, node: Node) -> bool:
    """`logits - 1e4 * (count < 1).float()`: a comparison masks what is called scores."""
    if not is_comparison(facts, node):
        return False
    whole = product
    while whole.parent is not None and whole.parent.type in (
        "binary_operator",
        "parenthesized_expression",
        "augmented_assignment",
    ):
        whole = whole.parent
    return is_attention_like(facts, whole, target_name(facts, product))


def _is_other_half(facts: PythonFacts, product: Node, other: Node) -> bool:
    """`w * b - 1e10 * (1 - b)`: whatever it is called, `b` is a mask."""
    while other.type == "parenthesized_expression" and other.named_children:
        other = other.named_children[0]
    if other.type != "binary_operator" or other.children[1].type != "-":
        return False
    one, mask = number(facts, other.children[0]), facts.code(other.children[2])
    whole = product.parent
    if one != 1.0 or whole is None or whole.type != "binary_operator":
        return False
    first = whole.children[0]
    if first.type != "binary_operator" or first.children[1].type != "*":
        return False
    return mask in (facts.code(first.children[0]), facts.code(first.children[2]))


def makes_ones(facts: PythonFacts, node: Node) -> bool:
    """Whether an expression is a tensor of ones, which a number is multiplied into."""
    if node.type != "call":
        return False
    function = node.child_by_field_name("function")
    method = facts.code(function).rpartition(".")[2] if function is not None else ""
    return facts.names.callee(node) in _SHAPES or method in _SHAPE_METHODS


def like(facts: PythonFacts, ones: Node) -> Node | None:
    """The tensor that `ones_like(x)` copies the dtype of."""
    given = facts.names.arguments(ones)
    if facts.names.callee(ones) != "torch.ones_like" or "dtype" in given.keywords:
        return None
    return given.get("input", 0)
