"""Writes `y, h = add_rms_norm(x, residual, …)` in the place of a sum, and its result where the norm was."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.graph.patterns.norm_calls import Norm
from cudalint.facts.graph.patterns.residuals import ResidualNorm, nodes_of, written_later
from cudalint.facts.graph.render import Renderer, Unspeakable
from cudalint.fixes.fusion._kernels import Kernel, kernel
from cudalint.fixes.fusion._plan import waiting
from cudalint.fixes.fusion._write import call
from cudalint.model import Edit, Finding, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


class _Sum(NamedTuple):
    """The statement `name = left + right`."""

    statement: Node
    name: str
    left: Node
    right: Node


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: ResidualNorm = finding.captures["found"]
    target = kernel(facts, f"add_{found.norm.kind}_norm")
    if target is None:
        return Refusal("torch has no norm of a sum")
    waits = waiting(finding, facts, target)
    if waits is not None:
        return waits
    reason = found.norm.why or _misfit(facts, found, finding.captures["function"])
    if reason is not None:
        return Refusal(reason)
    added = _sum(facts, nodes_of(found)[0])
    if added is None:
        return Refusal("the sum is no statement of its own")
    try:
        edits = _edits(facts, found, added, target, finding.captures["function"])
    except Unspeakable as why:
        return Refusal(str(why))
    title = f"Replace by `{target.spelling}(…)`"
    return Plan("unsafe", title, finding, facts, {"edits": edits, "need": target.need})


def write(plan: Plan) -> Patch:
    return Patch(plan.data["edits"], frozenset({plan.data["need"]}))


def _misfit(facts: PythonFacts, found: ResidualNorm, function: Node) -> str | None:
    if function.has_error:
        return "the function has a syntax error"
    if facts.graphs.of(function).opaque is not None:
        return "the function is too large or too dynamic to be read"
    if found.sum.shared:
        return "a tensor that others may see is changed in place"
    if written_later(facts.graphs.of(function), found.sum):
        return "the sum is changed in place later"
    return None


def _sum(facts: PythonFacts, node: Node) -> _Sum | None:
    """The parts of `h = x + y` or `h += y`, if that is a whole statement."""
    statement = facts.names.statement(node)
    if statement.type != "expression_statement" or statement.named_child_count != 1:
        return None
    outer = statement.named_children[0]
    left, right = outer.child_by_field_name("left"), outer.child_by_field_name("right")
    if left is None or right is None or left.type != "identifier":
        return None
    if outer.type == "augmented_assignment":
        return _Sum(statement, facts.code(left), left, right) if outer == node else None
    if outer.type != "assignment" or outer.child_by_field_name("type") is not None:
        return None
    if _bare(right) != node or node.type != "binary_operator":
        return None
    one, two = node.child_by_field_name("left"), node.child_by_field_name("right")
    return None if one is None or two is None else _Sum(statement, facts.code(left), one, two)


def _bare(node: Node) -> Node:
    while node.type == "parenthesized_expression":
        node = next(child for child in node.named_children if child.type != "comment")
    return node


def _edits(
    facts: PythonFacts, found: ResidualNorm, added: _Sum, target: Kernel, function: Node
) -> tuple[Edit, ...]:
    """The sum becomes the call; the norm's own statement goes, or its place gets a new name."""
    norm = nodes_of(found)[1]
    place = facts.names.statement(norm)
    between = _between(added.statement, place)
    render = Renderer(facts, facts.graphs.of(function), added.statement, nodes_of(found)[0])
    given = [*_operands(facts, found, added), *_parameters(found.norm, render)]
    goes = _names(facts, added.name, place, norm, between)
    if goes is not None:
        normed, kept, gone = goes
    else:
        normed, kept, gone = _fresh(facts, function, added.name, between), added.name, []
    head = f"{normed}, {kept} = "
    text = call(facts, added.statement, f"{head}{target.spelling}", given)
    edits = [Edit(_span(added.statement), text.encode())]
    if goes is None:
        edits.append(Edit(_span(norm), normed.encode()))
    return (*edits, *(Edit(_row(facts, statement), b"") for statement in gone))


def _between(first: Node, last: Node) -> list[Node]:
    found, at = [], first.next_named_sibling
    while at is not None and at != last:
        if at.type != "comment":
            found.append(at)
        at = at.next_named_sibling
    return found


def _names(
    facts: PythonFacts, added: str, place: Node, norm: Node, between: list[Node]
) -> tuple[str, str, list[Node]] | None:
    """The names of both results, and the statements that go, where the norm's has a name.

    `h = x + r; y = norm(h)`, or `h = x + r; r = h; h = norm(h)` as Hugging Face writes it.
    """
    made = _assignment(facts, place)
    if made is None or _bare(made[1]) != norm or not _has_its_row(facts, place):
        return None
    name = made[0]
    word = re.compile(rf"\b{name}\b")
    if name != added:
        free = not any(word.search(facts.code(statement)) for statement in between)
        return (name, added, [place]) if free else None
    alias = _assignment(facts, between[0]) if len(between) == 1 else None
    if alias is None or facts.code(alias[1]) != added or not _has_its_row(facts, between[0]):
        return None
    return added, alias[0], [between[0], place]


def _assignment(facts: PythonFacts, statement: Node) -> tuple[str, Node] | None:
    """The name and the value of `name = value`."""
    inner = statement.named_children[0] if statement.named_children else statement
    if statement.type != "expression_statement" or inner.type != "assignment":
        return None
    left, right = inner.child_by_field_name("left"), inner.child_by_field_name("right")
    if left is None or right is None or left.type != "identifier" or right.type == "assignment":
        return None
    return facts.code(left), right


def _operands(facts: PythonFacts, found: ResidualNorm, added: _Sum) -> list[str]:
    """The sublayer's output, then the residual, where that is a name; else in source order."""
    texts = [facts.code(added.left), facts.code(added.right)]
    plain = added.left.type in ("identifier", "attribute")
    first = found.sum.operands[0] is found.residual
    named = found.residual is None and "resid" in texts[0].lower()
    return texts[::-1] if plain and (first or named) else texts


def _parameters(norm: Norm, render: Renderer) -> list[str]:
    names = ("weight", "bias", "eps") if norm.kind == "layer" else ("weight", "eps")
    terms = [(name, getattr(norm, name)) for name in names]
    whole = all(term is not None for _, term in terms)
    given = []
    for name, term in terms:
        if term is not None:
            text = term if isinstance(term, str) else render.text(term)
            given.append(text if whole or name == "weight" else f"{name}={text}")
    if norm.kind == "rms" and norm.weight is not None:
        given += ['cast="late"'] if norm.cast == "late" or norm.offset else []
        given += [f"weight_offset={float(norm.offset)}"] if norm.offset else []
    return given


def _fresh(facts: PythonFacts, function: Node, added: str, between: list[Node]) -> str:
    """A name that the function does not have yet, nor gets by the fix of another sum.

    Fixes of one function are written at once. Two that overlap have a computation between their
    sums and norms, and sums of different names; one within another has none.
    """
    if any(word in facts.code(statement) for statement in between for word in "(+"):
        if any(_binds(facts, statement, added) for statement in between):
            raise Unspeakable(f"`{added}` is bound again before the norm")
        base = f"normed_{added}"
    else:
        base = "normed"
    text = facts.code(function)
    names = (base, *(f"{base}_{number}" for number in range(2, 100)))
    return next(name for name in names if not re.search(rf"\b{name}\b", text))


def _binds(facts: PythonFacts, statement: Node, name: str) -> bool:
    """Whether a statement may give a name another value."""
    return bool(re.search(rf"\b{name}\b[^=(]*[-+*/|&]?=(?!=)", facts.code(statement)))


def _span(node: Node) -> Span:
    return Span(node.start_byte, node.end_byte)


def _row(facts: PythonFacts, statement: Node) -> Span:
    """The whole rows of a statement, the line ending included."""
    first, last = (facts.source.row(at) for at in (statement.start_byte, statement.end_byte))
    starts = [*facts.source.line_starts, len(facts.text)]
    return Span(starts[first], starts[last + 1])


def _has_its_row(facts: PythonFacts, statement: Node) -> bool:
    return facts.code(statement) == facts.source.slice(_row(facts, statement)).strip()
