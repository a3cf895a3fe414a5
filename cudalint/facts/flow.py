"""Flow: which of a name's bindings may have made the value that is read at one place.

Structured code has no jumps but loops, so positions in the tree are enough: a binding whose block
holds the reader replaces what came before it, one in a branch adds to it, and one further down a
loop's body arrives by the next turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from cudalint.facts.bindings import Binding
    from cudalint.facts.names import Scope
    from cudalint.facts.python import PythonFacts

LOOPS = ("for_statement", "while_statement")
COMPREHENSIONS = (
    "list_comprehension",
    "set_comprehension",
    "dictionary_comprehension",
    "generator_expression",
)
FUNCTIONS = ("function_definition", "lambda")
JUMPS = ("return_statement", "raise_statement", "continue_statement", "break_statement")
_CLAUSES = ("elif_clause", "else_clause", "except_clause")
_ASSIGNS = ("assign", "unpack", "augment", "annotate")


def within(node: Node, holder: Node) -> bool:
    """Whether a node is a holder or stands in it."""
    return holder.start_byte <= node.start_byte and node.end_byte <= holder.end_byte


def ancestors(node: Node) -> list[Node]:
    """The nodes around a node, nearest first."""
    found = []
    parent = node.parent
    while parent is not None:
        found.append(parent)
        parent = parent.parent
    return found


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in source order."""
    stack = [node]
    while stack:
        at = stack.pop()
        yield at
        stack.extend(reversed(at.named_children))


def block_of(statement: Node, name: str = "body") -> Node | None:
    """The block of a compound statement."""
    return statement.child_by_field_name(name)


def last_statement(block: Node) -> Node | None:
    """The last statement of a block, comments left out."""
    for child in reversed(block.named_children):
        if child.type != "comment":
            return child
    return None


def leaves(block: Node) -> bool:
    """Whether a block ends in `return`, `raise`, `continue` or `break`."""
    last = last_statement(block)
    return last is not None and last.type in JUMPS


class Flow:
    """Reaching definitions, asked one read at a time."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._known: dict[int, list[Binding]] = {}

    def reaching(self, name: Node) -> list[Binding]:
        """The bindings whose value an identifier may have here; none: not a name of the file."""
        if (known := self._known.get(name.id)) is not None:
            return known
        found = self.facts.names.lookup(name)
        made = [] if found is None else self._reaching(name, *found)
        self._known[name.id] = made
        return made

    def _reaching(self, name: Node, scope: Scope, bindings: list[Binding]) -> list[Binding]:
        if len(bindings) == 1 or scope.kind == "comprehension" or not self._is_own(name, scope):
            return bindings
        before = [binding for binding in bindings if _is_before(binding, name)]
        reached, dominator = _reached(before, name)
        for loop in _loops_around(name, scope.node):
            if dominator is None or not within(dominator.node, loop):
                later = (b for b in bindings if b not in before and within(b.node, loop))
                reached.extend(b for b in later if b not in reached)
        return reached or bindings

    def _is_own(self, name: Node, scope: Scope) -> bool:
        """Whether a name is read by the code of its scope itself, not later by a nested function."""
        at = self.facts.names.scope(name)
        while at is not scope and at.kind == "comprehension" and at.parent is not None:
            at = at.parent
        return at is scope


def _is_before(binding: Binding, name: Node) -> bool:
    """Whether control may pass a binding before the name, loops' back edges left out."""
    if binding.node.end_byte > name.start_byte:
        return False
    statement = binding.statement
    if not within(name, statement):
        return True
    if binding.kind in _ASSIGNS or binding.kind == "delete":
        return False
    if binding.kind == "for":
        right = statement.child_by_field_name("right")
        return right is None or not within(name, right)
    if binding.kind == "walrus":
        value = statement.child_by_field_name("value")
        return value is None or not within(name, value)
    return True


def _reached(before: list[Binding], name: Node) -> tuple[list[Binding], Binding | None]:
    """The bindings back to the one that replaces all earlier ones, and that one."""
    reached: list[Binding] = []
    arms: dict[int, set[int]] = {}
    for binding in reversed(before):
        if _are_exclusive(binding.node, name):
            continue
        reached.append(binding)
        if binding.kind == "param" or _dominates(binding, name):
            return reached, binding
        if _completes_branches(binding, name, arms):
            return reached, binding
    return reached, None


def _statement(node: Node) -> Node:
    while (parent := node.parent) is not None and parent.type not in ("block", "module"):
        node = parent
    return node


def _holder(binding: Binding) -> tuple[Node, Node | None]:
    """The statement of a binding and the block around it; a `with` block is no branch."""
    statement = _statement(binding.node)
    block = statement.parent
    while block is not None and block.parent is not None and block.parent.type == "with_statement":
        statement = block.parent
        block = statement.parent
    return statement, block


def _dominates(binding: Binding, name: Node) -> bool:
    statement, block = _holder(binding)
    if block is None or not _holds(block, name):
        return False
    if binding.kind == "for" and binding.statement.type == "for_statement":
        body = block_of(binding.statement)
        return body is not None and within(name, body)
    return binding.kind not in ("except", "match") or within(name, statement)


def _holds(block: Node, name: Node) -> bool:
    """Whether a name stands in a block; a module holds all of its file."""
    return block.type == "module" or within(name, block)


def _are_exclusive(left: Node, right: Node) -> bool:
    """Whether two nodes stand in different arms of one `if`."""
    for holder in ancestors(left):
        if holder.type == "if_statement" and within(right, holder):
            return _arm(left, holder) != _arm(right, holder)
    return False


def _arm(node: Node, branch: Node) -> int:
    """The arm of an `if` that holds a node, by offset; conditions belong to no arm."""
    for child in branch.children:
        if within(node, child):
            if child.type in ("block", "else_clause"):
                return child.start_byte
            if child.type == "elif_clause":
                body = block_of(child, "consequence")
                inside = body is not None and within(node, body)
                return child.start_byte if inside else -1
    return -1


def _completes_branches(binding: Binding, name: Node, arms: dict[int, set[int]]) -> bool:
    """Whether this binding is the last one needed for every arm of an `if` or `try` to bind."""
    _, block = _holder(binding)
    branch = block.parent if block is not None else None
    if branch is not None and branch.type in _CLAUSES:
        branch = branch.parent
    if block is None or branch is None or branch.type not in ("if_statement", "try_statement"):
        return False
    around = branch.parent
    if around is None or not _holds(around, name) or within(name, branch):
        return False
    covered = arms.setdefault(branch.id, set())
    covered.add(block.start_byte)
    return covered >= _open_arms(branch)


def _open_arms(branch: Node) -> set[int]:
    """The blocks of which control leaves one at its end; -1, never covered, for a missing `else`.

    A `try` has its body and its handlers; what its `else` or `finally` binds is not looked at.
    """
    found: set[int] = set()
    complete = branch.type == "try_statement"
    for child in branch.children:
        complete = complete or child.type == "else_clause"
        if child.type == "block":
            body: Node | None = child
        elif child.type in ("elif_clause", "else_clause", "except_clause"):
            body = next((node for node in child.children if node.type == "block"), None)
        else:
            continue
        if body is not None and not leaves(body):
            found.add(body.start_byte)
    return found if complete else found | {-1}


def _loops_around(name: Node, scope: Node) -> list[Node]:
    """The loops of a scope that run a name again: those whose body or condition holds it."""
    found = []
    for holder in ancestors(name):
        if holder == scope:
            break
        if holder.type in LOOPS:
            iterable = holder.child_by_field_name("right")
            if iterable is None or not within(name, iterable):
                found.append(holder)
    return found
