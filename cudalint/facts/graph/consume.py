"""Which statements a match consumes, and whether they may go."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING

from cudalint.facts.graph.surviving import surviving
from cudalint.facts.graph.tables import DRAWING
from cudalint.facts.graph.values import Definition, Graph, Value
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_RESULTS = {"expression_statement", "return_statement"}
_RUNS = (
    frozenset({"call", "module", "unknown", "random", "dropout", "index_put", "opaque"}) | DRAWING
)
_SAYS = frozenset({"builtins.print", "warnings.warn"})


class Kept(Exception):
    """A statement cannot go; says why."""


@record(eq=False)
class Consumption:
    """The statement that holds the result, and those that go.

    `removed` are simple statements, `branches` whole `if` statements that are left empty.
    """

    statement: Node
    expression: Node
    home: Node
    target: str | None = None  # the name that the result is written to in place
    removed: dict[int, Node] = field(default_factory=dict)
    branches: dict[int, Node] = field(default_factory=dict)
    rebound: set[int] = field(default_factory=set)  # statements whose name the new text binds again

    def covers(self, node: Node) -> bool:
        """Whether a node goes: it stands in a removed statement or in the replaced expression."""
        spans = (*self.removed.values(), *self.branches.values(), self.expression)
        return any(s.start_byte <= node.start_byte < s.end_byte for s in spans)

    @property
    def outermost(self) -> list[Node]:
        """What to delete: whole branches, and statements outside of them, in source order."""
        whole = list(self.branches.values())
        loose = [
            node
            for node in self.removed.values()
            if not any(b.start_byte <= node.start_byte < b.end_byte for b in whole)
        ]
        inner = [
            b
            for b in whole
            if not any(o is not b and o.start_byte <= b.start_byte < o.end_byte for o in whole)
        ]
        return sorted([*inner, *loose], key=lambda node: node.start_byte)


def consumption(
    facts: PythonFacts,
    graph: Graph,
    result: Value,
    consumed: Mapping[int, Value],
    helpers: bool = False,
) -> Consumption:
    """The statements of a match, before it is known which names the fix still needs.

    `helpers`: calls of functions of the file may be consumed whole; the functions stay.
    """
    node = graph.node_of(result) if helpers else result.node
    if graph.opaque is not None:
        raise Kept("the function is too large or too dynamic to be read")
    if node is None or not (helpers or result.body == graph.function):
        raise Kept("the computation is spread over several functions")
    statement = facts.names.statement(node)
    if statement.type not in _RESULTS or statement.parent is None:
        raise Kept("the result is part of a compound statement")
    columns = {s.start_point.column for s in statement.parent.named_children if s.type != "comment"}
    if len(columns) != 1 and statement.parent.start_point.row != statement.start_point.row:
        raise Kept("the indentation around it is broken")
    found = Consumption(statement, node, statement.parent, written_name(facts, node))
    for value in consumed.values():
        if value.node is None or value is result:
            continue
        node = value.node
        if value.body != graph.function:
            if not helpers or value.site is None:
                raise Kept("the computation is spread over several functions")
            node = value.site
        place = facts.names.statement(node)
        if place != statement:
            found.removed[place.id] = place
    stores = {
        value.node.id for value in consumed.values() if value.op == "index_put" and value.node
    }
    for place in found.removed.values():
        _check_place(facts, found, place, stores)
    if helpers:
        _check_helpers(graph, consumed)
    return found


def _check_helpers(graph: Graph, consumed: Mapping[int, Value]) -> None:
    """A helper whose call goes does nothing but compute what the match consumes."""
    sites = {value.site.id for value in consumed.values() if value.site is not None}
    for value in graph.values if sites else ():
        if value.site is None or value.site.id not in sites or value.id in consumed:
            continue
        acts = value.op in _RUNS or value.shared or value.op in _SAYS
        if acts or any(use.kind == "store" for use in value.uses):
            raise Kept("a helper does more than compute an intermediate value")


def written_name(facts: PythonFacts, node: Node) -> str | None:
    """The name that an in-place result is bound to: `e /= …`, `e.div_(…)` as a statement."""
    if node.type == "augmented_assignment":
        owner = node.child_by_field_name("left")
    else:
        function = node.child_by_field_name("function") if node.type == "call" else None
        if function is None or not facts.code(function).endswith("_"):
            return None
        owner = function.child_by_field_name("object")
    parent = node.parent
    whole = parent is not None and parent.type == "expression_statement"
    if not whole or owner is None or owner.type != "identifier":
        raise Kept("the result is written in place")
    return facts.code(owner)


def _check_place(
    facts: PythonFacts, found: Consumption, place: Node, stores: Container[int]
) -> None:
    """A statement goes only from the result's own block, or from an `if` in it."""
    line = facts.source.row(place.start_byte) + 1
    if place.type != "expression_statement" or place.start_byte > found.statement.start_byte:
        raise Kept(f"line {line} does more than compute an intermediate value")
    if not _simple(place, stores):
        raise Kept(f"line {line} binds more than one name")
    if _shares_line(facts, place):
        raise Kept(f"line {line} holds several statements")
    at = place.parent
    while at is not None and at != found.home:
        if at.type not in ("block", "if_statement", "else_clause", "elif_clause"):
            raise Kept(f"line {line} stands in another block than the result")
        at = at.parent
    if at is None:
        raise Kept(f"line {line} stands in another block than the result")


def _simple(statement: Node, stores: Container[int] = ()) -> bool:
    """Whether a statement binds names and does nothing else; `stores` are assignments to parts."""
    inner = statement.named_children[0]
    if inner.type == "assignment":
        left, right = inner.child_by_field_name("left"), inner.child_by_field_name("right")
        names = left.named_children if left is not None and left.type == "pattern_list" else [left]
        if left is not None and left.id in stores:
            return True
        plain = all(name is not None and name.type == "identifier" for name in names)
        return plain and right is not None and right.type != "assignment"
    if inner.type == "augmented_assignment":
        left = inner.child_by_field_name("left")
        return left is not None and left.type in ("identifier", "subscript")
    return inner.type == "call"


def _shares_line(facts: PythonFacts, statement: Node) -> bool:
    row, end = statement.start_point.row, statement.end_point.row
    for other in (statement.prev_named_sibling, statement.next_named_sibling):
        if other is None or other.type == "comment":
            continue
        if other.end_point.row == row or other.start_point.row == end:
            return True
    start = facts.text.rfind(b"\n", 0, statement.start_byte) + 1
    return bool(facts.text[start : statement.start_byte].strip())


def settle(
    facts: PythonFacts,
    graph: Graph,
    found: Consumption,
    consumed: Mapping[int, Value],
    names: Iterable[str],
    moved: Iterable[Node],
) -> None:
    """Prove that the statements may go, given the names and expressions that the fix uses.

    Statements that only fed them, and that run no code, go as well.
    """
    needed = _needed(graph, found, names)
    _add_dead(facts, graph, found, needed)
    _empty_branches(facts, graph, found)
    moves = list(moved)
    for place in found.removed.values():
        _check_reads(facts, graph, found, place)
        _check_runs(facts, graph, place, consumed, moves)
    if any(v.shared for v in consumed.values()):
        raise Kept("a tensor that others may see is changed in place")
    _check_moves(facts, found, moves)


def _needed(graph: Graph, found: Consumption, names: Iterable[str]) -> set[int]:
    """The ids of the bindings that the new text reads, once those that go are gone."""
    env = surviving(graph, found.statement, found.removed)
    slots = [env[name] for name in names if name in env]
    return {id(definition) for slot in slots for definition in slot.definitions}


def _add_dead(facts: PythonFacts, graph: Graph, found: Consumption, needed: set[int]) -> None:
    """Statements whose every reader goes, and that compute and do nothing else, go too."""
    candidates = [
        (d.statement, graph.definitions[d.statement.id])
        for made in graph.definitions.values()
        for d in made
        if d.statement is not None
    ]
    changed = True
    while changed:
        changed = False
        for place, made in candidates:
            if place.id in found.removed or place == found.statement:
                continue
            if any(id(d) in needed for d in made) or not _is_dead(found, made):
                continue
            if place.type != "expression_statement" or not _simple(place):
                continue
            if _shares_line(facts, place) or not _pure(graph, place) or not _near(found, place):
                continue
            found.removed[place.id] = place
            changed = True


def _is_dead(found: Consumption, made: list[Definition]) -> bool:
    reads = [node for d in made for node in d.reads.values()]
    return bool(reads) and all(found.covers(node) for node in reads)


def _near(found: Consumption, place: Node) -> bool:
    at = place.parent
    while at is not None and at != found.home:
        if at.type not in ("block", "if_statement", "else_clause", "elif_clause"):
            return False
        at = at.parent
    return at is not None and place.start_byte < found.statement.start_byte


def _pure(graph: Graph, place: Node) -> bool:
    for value in graph.values:
        node = value.node
        if node is None or not place.start_byte <= node.start_byte < place.end_byte:
            continue
        if value.op in _RUNS or value.shared:
            return False
    return True


def _empty_branches(facts: PythonFacts, graph: Graph, found: Consumption) -> None:
    """An `if` whose statements all go, goes; an arm that alone would be left empty must stay."""
    changed = True
    while changed:
        changed = False
        for place in (*found.removed.values(), *found.branches.values()):
            holder = _if_of(found, place)
            if holder is None or holder.id in found.branches:
                continue
            arms = [_left(found, arm) for arm in _arms(holder)]
            if not any(arms):
                if not _pure_tests(graph, holder):
                    raise Kept("a condition around it runs code")
                found.branches[holder.id] = holder
                changed = True
            elif not all(arms):
                line = facts.source.row(holder.start_byte) + 1
                raise Kept(f"one arm of the `if` in line {line} would be left empty")


def _if_of(found: Consumption, place: Node) -> Node | None:
    at = place.parent
    while at is not None and at != found.home:
        if at.type == "if_statement":
            return at
        at = at.parent
    return None


def _arms(holder: Node) -> list[Node]:
    blocks = [holder.child_by_field_name("consequence")]
    for clause in holder.children_by_field_name("alternative"):
        blocks.append(
            clause.child_by_field_name("consequence") or clause.child_by_field_name("body")
        )
    return [block for block in blocks if block is not None]


def _left(found: Consumption, block: Node) -> list[Node]:
    return [
        child
        for child in block.named_children
        if child.type not in ("comment", "pass_statement")
        and child.id not in found.removed
        and child.id not in found.branches
    ]


def _pure_tests(graph: Graph, holder: Node) -> bool:
    tests = [holder.child_by_field_name("condition")]
    tests += [
        c.child_by_field_name("condition") for c in holder.children_by_field_name("alternative")
    ]
    return all(test is None or _pure(graph, test) for test in tests)


def _check_reads(facts: PythonFacts, graph: Graph, found: Consumption, place: Node) -> None:
    for definition in graph.definitions.get(place.id, ()):
        for node in definition.reads.values():
            again = place.id in found.rebound and node.start_byte >= found.statement.end_byte
            if not found.covers(node) and not again:
                line = facts.source.row(node.start_byte) + 1
                raise Kept(f"`{definition.name}` is read again in line {line}")


def _check_runs(
    facts: PythonFacts, graph: Graph, place: Node, consumed: Mapping[int, Value], moved: list[Node]
) -> None:
    """What a removed statement runs is either consumed or moves with an operand."""
    for value in graph.values:
        node = value.node
        if node is None or value.op not in _RUNS or value.id in consumed:
            continue
        inside = place.start_byte <= node.start_byte < place.end_byte
        if inside and not any(m.start_byte <= node.start_byte < m.end_byte for m in moved):
            line = facts.source.row(place.start_byte) + 1
            raise Kept(f"line {line} runs code that would be lost")


def _check_moves(facts: PythonFacts, found: Consumption, moved: list[Node]) -> None:
    """Code that moves keeps its order, and passes no statement that stays."""
    order = [node.start_byte for node in moved]
    if order != sorted(order):
        raise Kept("operands would be computed in another order")
    for node in moved:
        at = facts.names.statement(node)
        while at.parent is not None and at.parent != found.home:
            at = at.parent
        following = at.next_named_sibling
        while following is not None and following != found.statement:
            gone = following.id in found.removed or following.id in found.branches
            if not gone and following.type != "comment":
                raise Kept("an operand would be computed after other statements")
            following = following.next_named_sibling
