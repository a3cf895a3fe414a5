"""Loops: their variables grow by a step with every turn, or are some value in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.cuda.access import Guard, Loop, Pointer, Value
from cudalint.facts.cuda.affine import Atom, Kind, Poly
from cudalint.facts.cuda.evaluate import text_of
from cudalint.facts.cuda.fragments import loop_head, substituted
from cudalint.facts.cuda.functions import declared
from cudalint.facts.cuda.helpers import Helpers
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

_GRID_LOOP = lazy_compile(
    r"(?:CUDA|GPU|XPU|HIP|DGL|KERNEL)_?(?:1D_)?(?:KERNEL_)?LOOP(?:_TYPE|_T|_X|_INDEX)?\Z"
)
_GRID_LOOP_TEXT = (
    "for (int {0} = blockIdx.x * blockDim.x + threadIdx.x; {0} < ({1}); "
    "{0} += blockDim.x * gridDim.x)"
)
_HEAD = lazy_compile(r"\s*([A-Za-z_]\w*)\s*\(")
_ASSIGNING = frozenset({"assignment_expression", "update_expression"})


class Loops(Helpers):
    """An evaluator that knows loops, those behind macros included."""

    def _for(self, node: Node) -> bool:
        return self._loop_with_head(node, node, node.child_by_field_name("body"))

    def _loop_with_head(self, node: Node, head: Node, body: Node | None) -> bool:
        outer = dict(self.names)
        self._run(head.child_by_field_name("initializer"))
        update = head.child_by_field_name("update")
        test = head.child_by_field_name("condition")
        self._turns(node, test, update, body)
        for name in declared_in(head):
            if name in outer:
                self.names[name] = outer[name]
        return True

    def _while(self, node: Node) -> bool:
        body = node.child_by_field_name("body")
        head = self._macro_head(node)
        if head is not None:
            return self._loop_with_head(node, head, body)
        self._turns(node, node.child_by_field_name("condition"), None, body)
        return True

    def _range_for(self, node: Node) -> bool:
        self.value(node.child_by_field_name("right"))
        name, _ = declared(node.child_by_field_name("declarator"))
        self.names[name] = self.unknown(("range", node.id))
        self._turns(node, None, None, node.child_by_field_name("body"))
        return True

    def _block_macro(self, node: Node) -> bool:
        """`FOR_EACH(i, n) { … }` reads as a definition without a type."""
        body = node.child_by_field_name("body")
        head = self._macro_head(node)
        if head is not None:
            return self._loop_with_head(node, head, body)
        self._turns(node, None, None, body)
        return True

    def head(self, loop: Node) -> Node:
        """The `for` that a loop is: itself, or what its macro stands for."""
        return self._macro_head(loop) or loop

    def _macro_head(self, node: Node) -> Node | None:
        """The `for` that a loop macro stands for: the file's own, or the usual one."""
        text = self.facts.text[node.start_byte : node.end_byte].decode("utf-8", "replace")
        match = _HEAD.match(text)
        if match is None or match.group(1) in ("while", "for"):
            return None
        arguments = _balanced_arguments(text[match.end() :])
        macro = self.facts.macros.get(match.group(1))
        if macro is not None and macro.parameters is not None:
            return loop_head(substituted(macro.body, macro.parameters, arguments))
        if _GRID_LOOP.match(match.group(1)) and len(arguments) >= 2:
            variable = 1 if len(arguments) == 3 and not arguments[2].endswith("_t") else 0
            if "TYPE" in match.group(1):
                variable = 0
            return loop_head(_GRID_LOOP_TEXT.format(*arguments[variable : variable + 2]))
        return None

    def _turns(self, node: Node, test: Node | None, update: Node | None, body: Node | None) -> None:
        """A loop's body, read once with what it assigns as it is in any turn."""
        turn = Atom(f"turn@{node.start_byte}", Kind.UNIFORM)
        before = dict(self.names)
        steps = self._steps([one for one in (body, update) if one is not None])
        loop = Loop(node, turn.name, "", None, None, None)
        for name, step in steps.items():
            value = before.get(name)
            if value is None:
                continue
            uniform = step is None and self._stays_uniform(name, value, node)
            kind = Kind.UNIFORM if uniform else Kind.UNKNOWN
            self.names[name] = self._in_turn(value, step, turn, (node.id, name), kind)
        kind = self.number(test).kind_of_result if test is not None else Kind.UNKNOWN
        loop = self._described(loop, test, before, steps)
        self.loops.append(loop)
        self.guards.append(Guard(test or node, max(kind, Kind.UNIFORM), False))
        guards = len(self.guards)
        self._run(body)
        self.value(update)
        del self.guards[guards - 1 :]
        self.loops.pop()
        for name in steps:
            value = self.names.get(name)
            if value is None or name not in before:
                continue
            kinds = [
                one.kind
                if isinstance(one, Poly)
                else one.offset.kind
                if isinstance(one, Pointer)
                else Kind.UNKNOWN
                for one in (value, before[name])
            ]
            uniform = max(*kinds, kind) <= Kind.UNIFORM
            after = Kind.UNIFORM if uniform else Kind.UNKNOWN
            self.names[name] = self._some(before[name], (node.id, "after", name), after)

    def _stays_uniform(self, name: str, value: Value, loop: Node) -> bool:
        """Whether a loop only computes a name from itself and what the block shares: `s >>= 1`."""
        if not isinstance(value, Poly) or not value.is_uniform:
            return False
        for assigned, node in assigned_in([loop]):
            right = node.child_by_field_name("right")
            if assigned != name or node.type == "update_expression":
                continue
            if right is None or (not _is_straight(node, [loop]) and node.parent != loop):
                return False
            for used in _identifiers(right):
                known = self.names.get(used)
                if used != name and not (isinstance(known, Poly) and known.is_uniform):
                    return False
        return True

    def _in_turn(
        self, value: Value, step: Poly | None, turn: Atom, key: object, kind: Kind
    ) -> Value:
        """What a loop's variable is in some turn."""
        if step is None:
            return self._some(value, key, kind)
        grown = Poly.of(turn) * step
        if isinstance(value, Poly):
            return value + grown
        return self.moved(value, grown) if isinstance(value, Pointer) else value

    def _some(self, value: Value, key: object, kind: Kind) -> Value:
        other = self.atoms.opaque(key, kind)
        return value._replace(offset=other) if isinstance(value, Pointer) else other

    def _described(
        self, loop: Loop, test: Node | None, before: dict[str, Value], steps: dict[str, Poly | None]
    ) -> Loop:
        while test is not None and test.type in ("parenthesized_expression", "condition_clause"):
            test = test.named_children[-1] if test.named_children else None
        if test is None or test.type != "binary_expression":
            return loop
        variable = text_of(test.child_by_field_name("left") or test)
        first = before.get(variable)
        if steps.get(variable) is None or not isinstance(first, Poly):
            return loop
        bound = self.number(test.child_by_field_name("right"))
        return loop._replace(variable=variable, first=first, step=steps[variable], bound=bound)

    def _steps(self, nodes: list[Node]) -> dict[str, Poly | None]:
        """What a loop assigns, by name, with what it grows by in each turn where that is known."""
        found: dict[str, Poly | None] = {}
        assigned = list(assigned_in(nodes))
        names = [name for name, _ in assigned]
        for name, node in assigned:
            step = None
            if names.count(name) == 1 and _is_straight(node, nodes):
                step = self._step(name, node, frozenset(names))
            found[name] = step
        return found

    def _step(self, name: str, node: Node, assigned: frozenset[str]) -> Poly | None:
        if node.type == "update_expression":
            return Poly.of(1 if "++" in text_of(node) else -1)
        operator = text_of(node.child_by_field_name("operator") or node)
        right = node.child_by_field_name("right")
        if right is None:
            return None
        if operator == "=" and right.type == "binary_expression":
            left = text_of(right.child_by_field_name("left") or right)
            operator = text_of(right.child_by_field_name("operator") or right) + "="
            right = right.child_by_field_name("right")
            if left != name or right is None:
                return None
        if operator not in ("+=", "-=") or not assigned.isdisjoint(_identifiers(right)):
            return None
        notes = len(self.accesses), len(self.calls)
        step = self.number(right)
        del self.accesses[notes[0] :], self.calls[notes[1] :]
        if not step.is_uniform:
            return None
        return step if operator == "+=" else -step

    def _forget(self, node: Node, kind: Kind) -> None:
        """What a statement assigns is some value after it."""
        for name, assignment in assigned_in([node]):
            if name in self.names:
                self.names[name] = self._some(self.names[name], (assignment.id, "some"), kind)


def declared_in(block: Node) -> Iterator[str]:
    """The names that a block's own declarations bind."""
    for child in block.named_children:
        if child.type == "declaration":
            for declarator in child.children_by_field_name("declarator"):
                plain = declarator.child_by_field_name("declarator")
                value = declarator.child_by_field_name("value")
                name, _ = declared(plain if value is not None else declarator)
                if name:
                    yield name


def assigned_in(nodes: list[Node]) -> Iterator[tuple[str, Node]]:
    """Plain names that are assigned below, with the assignments."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node.type in _ASSIGNING:
            target = node.child_by_field_name("left") or node.child_by_field_name("argument")
            while target is not None and target.type in (
                "parenthesized_expression",
                "field_expression",
            ):
                target = target.child_by_field_name("argument") or target.named_children[0]
            if target is not None and target.type == "identifier":
                yield text_of(target), node
        elif node.type == "pointer_expression" and node.children[0].type == "&":
            argument = node.child_by_field_name("argument")
            if argument is not None and argument.type == "identifier":
                yield text_of(argument), node
        stack += node.named_children


def _is_straight(node: Node, ends: list[Node]) -> bool:
    """Whether nothing but blocks and statements stands between an assignment and the loop."""
    parent = node.parent
    if node.type not in _ASSIGNING:
        return False
    if any(node == end for end in ends):
        return True
    while parent is not None:
        if any(parent == end for end in ends):
            return True
        if parent.type not in ("compound_statement", "expression_statement", "comma_expression"):
            return False
        parent = parent.parent
    return False


def _identifiers(node: Node) -> Iterator[str]:
    stack = [node]
    while stack:
        node = stack.pop()
        if node.type == "identifier":
            yield text_of(node)
        stack += node.named_children


def _balanced_arguments(text: str) -> list[str]:
    """The arguments before the closing parenthesis."""
    arguments, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if depth < 0 or (letter == "," and depth == 0):
            arguments.append(text[start:at].strip())
            start = at + 1
        if depth < 0:
            break
    return arguments
