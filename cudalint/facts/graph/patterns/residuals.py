"""Sums of a residual stream: `h = x + f(x)`, kept for later, and the norm of `h` that follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.adaptive import adaptive_norms
from cudalint.facts.graph.patterns.norm_calls import Norm, norms_of
from cudalint.facts.graph.pool import is_const, is_number, is_scalar
from cudalint.facts.graph.values import META, Graph, Value
from cudalint.lazy import lazy_compile
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_NAMES = lazy_compile(r"resid|skip|shortcut|identity")
# What is evaluated under a condition, or more than once.
_LAZY = frozenset(
    {"conditional_expression", "boolean_operator", "lambda", "generator_expression"}
    | {"list_comprehension", "dictionary_comprehension", "set_comprehension", "assert_statement"}
)
_LEAVING = frozenset({"return_statement", "raise_statement", "continue_statement"}) | {
    "break_statement"
}
_DEEP = 600  # values looked at for one sum


@record(eq=False)
class ResidualNorm:
    """`sum = operand + operand`, of which `norm` is one user among several.

    `residual` is the operand that the other one was made of; None where only names tell.
    """

    sum: Value
    norm: Norm
    residual: Value | None


def residual_norms(facts: PythonFacts, graph: Graph) -> Iterator[ResidualNorm]:
    """The first norm of each sum that is kept; norms by hand become calls first."""
    inner: set[int] | None = None
    seen: set[int] = set()
    for norm in norms_of(facts, graph):
        added = norm.x
        if norm.hand is not None or added.op != "add" or added.id in seen:
            continue
        found = _residual(facts, graph, norm)
        if found is None:
            continue
        if inner is None:
            inner = {one.norm.result.id for one in adaptive_norms(facts, graph)}
        if norm.result.id not in inner:
            seen.add(added.id)
            yield found


def _residual(facts: PythonFacts, graph: Graph, norm: Norm) -> ResidualNorm | None:
    added = norm.x
    ours = added.body == graph.function and norm.result.body == graph.function
    if not ours or added.node is None or norm.result.node is None:
        return None
    if not _in_one_block(facts, added.node, norm.result.node):
        return None
    if not _is_kept(graph, norm) or not all(_is_activation(part) for part in added.operands):
        return None
    for residual, other in (added.operands, added.operands[::-1]):
        if _is_made_of(other, residual):
            return ResidualNorm(added, norm, residual)
    named = _NAMES.search(facts.code(added.node).lower()) is not None
    return ResidualNorm(added, norm, None) if named else None


def _in_one_block(facts: PythonFacts, added: Node, normed: Node) -> bool:
    """Whether the norm always follows the sum: under an `if` it may be a post-norm, the sum's end,
    and where it does not run, its parameters may not even be there."""
    one, two = facts.names.statement(added), facts.names.statement(normed)
    if one.parent != two.parent or one.end_byte > two.start_byte:
        return False
    at = normed
    while at != two and at.parent is not None:
        at = at.parent
        if at.type in _LAZY:
            return False
    following = one.next_named_sibling
    while following is not None and following != two:
        if _leaves(following):
            return False
        following = following.next_named_sibling
    return True


def _leaves(statement: Node) -> bool:
    """Whether what follows a statement may not run."""
    stack = [statement]
    while stack:
        at = stack.pop()
        if at.type in _LEAVING:
            return True
        stack.extend(at.named_children)
    return False


def written_later(graph: Graph, value: Value) -> bool:
    """Whether a value's memory is written once it is made: no backward may keep it then."""
    for use in graph.uses(value):
        node = use.user.node if use.user is not None else None
        if node is None:
            continue
        if node.type == "augmented_assignment":
            return True
        called = node.child_by_field_name("function") if node.type == "call" else None
        name = called.child_by_field_name("attribute") if called is not None else None
        if name is not None and (name.text or b"").endswith(b"_"):
            return True
    return False


def _is_kept(graph: Graph, norm: Norm) -> bool:
    """Whether anything but the norm needs the sum."""
    for use in graph.uses(norm.x):
        if use.user is None or (use.user.id not in norm.consumed and use.user.op not in META):
            return True
    return False


def _is_activation(value: Value) -> bool:
    """No number, no parameter, and nothing that is taken off."""
    if is_number(value) or is_scalar(value) or value.op in ("self", "global", "const"):
        return False
    return not (value.op == "mul" and any(is_const(part, -1) for part in value.operands))


def _is_made_of(value: Value, source: Value) -> bool:
    """Whether a value was computed from another, whatever unknown code stood in between."""
    wanted = {part.id for part in _handed(source)}
    stack, seen = [value], {value.id}
    while stack and len(seen) < _DEEP:
        at = stack.pop()
        if at.id in wanted:
            return at is not value
        for operand in at.operands:
            if operand.id not in seen:
                seen.add(operand.id)
                stack.append(operand)
    return False


def _handed(value: Value) -> Iterator[Value]:
    """What a value was before unknown calls, or the fused call that gave it with its norm."""
    yield value
    while value.op == "opaque" and value.operands:
        value = value.operands[0]
        yield value
    if value.op == "index" and value.operands[0].op.startswith("cudalint.kernels."):
        yield value.operands[0]


def nodes_of(found: ResidualNorm) -> tuple[Node, Node]:
    """The sum and the norm as they stand in the source."""
    assert found.sum.node is not None and found.norm.result.node is not None
    return found.sum.node, found.norm.result.node
