"""Source text for values: what a fix may write at a place so that it means the very same value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.graph.layout import Order, compose, inverse, trimmed
from cudalint.facts.graph.memory import SELF
from cudalint.facts.graph.pool import is_number
from cudalint.facts.graph.surviving import surviving
from cudalint.facts.graph.tables import DRAWING, words
from cudalint.facts.graph.values import Environment, Graph, Slot, Value
from cudalint.records import field, record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_ATOMS = {
    *("identifier", "attribute", "call", "subscript", "parenthesized_expression"),
    *("integer", "float", "string", "tuple", "list", "true", "false", "none"),
}
# Re-evaluating these costs nothing worth keeping a name for.
_CHEAP = words(
    """permute transpose view expand unsqueeze squeeze index slice attr self global const size
    shape dtype device rank finfo len number add mul pow floordiv not is_none eq ne lt gt le ge
    detach cast input tuple compare both any_of star"""
)
_RUNS = DRAWING | {"call", "module", "unknown", "random", "dropout", "opaque", "linear"}


class Unspeakable(Exception):
    """A value has no text at the place; says why."""


@record(eq=False)
class Renderer:
    """Texts for the values that are alive where `statement` starts.

    `gone` holds the ids of statements that the fix removes: names that they bind have no meaning
    any more, and expressions in them may move. `expression` is what the text will replace.
    `moved` collects the expressions that were copied from their place and run code.
    """

    facts: PythonFacts
    graph: Graph
    statement: Node
    expression: Node
    gone: set[int] = field(default_factory=set)
    moved: list[Node] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @cached_property
    def env(self) -> Environment:
        """What names hold where the text will stand, once the statements that go are gone."""
        return surviving(self.graph, self.statement, self.gone)

    def text(self, value: Value) -> str:
        """The text of a value as an argument."""
        return self._text(value)[0]

    def atom(self, value: Value) -> str:
        """The text of a value before a dot or an operator."""
        text, whole = self._text(value)
        return text if whole else f"({text})"

    def permuted(self, value: Value, order: Order) -> str:
        """The text of a value with its dimensions permuted."""
        if value.op == "unsqueeze" and value.node is None and len(order) < -value.attrs[0]:
            inner = self.permuted(value.operands[0], order)
            return f"{inner}.unsqueeze({value.attrs[0]})"  # what the one spelling added
        if value.op == "permute":
            order, value = compose(value.attrs, order), value.operands[0]
        order = trimmed(order)
        held = self._held(value, order)
        if held is not None:
            return held
        return f"{self.atom(value)}{reordered(value, order)}" if order else self.text(value)

    def _held(self, value: Value, order: Order) -> str | None:
        """By a name that holds the value in this order, or in another where none holds it plain."""
        names = []
        for slot in self.env.values():
            other = slot.value
            if other.op == "permute" and other.operands[0] is value and self._lives(slot):
                rest = trimmed(compose(inverse(other.attrs), order))
                names.append((len(rest), other.id, other, rest))
        if not names:
            return None
        size, _, other, rest = min(names)
        if size and self._plainly(value):
            return None
        name = self.name(other)
        return None if name is None else name + (reordered(other, rest) if rest else "")

    def _plainly(self, value: Value) -> bool:
        return any(slot.value is value and self._lives(slot) for slot in self.env.values())

    def _text(self, value: Value) -> tuple[str, bool]:
        name = self.name(value)
        if name is not None:
            return name, True
        if value.node is not None:
            found = self._slice(value)
            if found is not None:
                return found
        return self._spelled(value)

    def name(self, value: Value) -> str | None:
        """A name that holds the value where the statement starts."""
        if value.op == "const":
            return None
        found = [key for key, slot in self.env.items() if slot.value is value]
        plain = [key for key in found if self._lives(self.env[key])]
        if not plain:
            return None
        best = min(plain, key=lambda key: (key.startswith(SELF), self._age(value, key)))
        self.names.add(best)
        return best

    def _age(self, value: Value, key: str) -> int:
        """Names that the replaced code reads come first."""
        reads = [node for d in self.env[key].definitions for node in d.reads.values()]
        span = self.expression
        return 0 if any(span.start_byte <= n.start_byte < span.end_byte for n in reads) else 1

    def _lives(self, slot: Slot) -> bool:
        return not any(
            d.statement is not None and d.statement.id in self.gone for d in slot.definitions
        )

    def _slice(self, value: Value) -> tuple[str, bool] | None:
        """The source of a value, where evaluating it here gives the same."""
        node, place = self.graph.node_of(value), value.statement
        if node is None or place is None:
            return None
        inside = self.expression.start_byte <= node.start_byte < self.expression.end_byte
        if value.body != self.graph.function and (not inside or node == self.expression):
            return None  # a helper's call stays where it is
        if not inside:
            if place.id not in self.gone and not self._is_cheap(value):
                return None
            if not self._same(node, place):
                return None
            if self._runs(node):
                self.moved.append(node)
        for name in names_of(self.facts, node):
            self.names.add(name)
        return self.facts.code(node), node.type in _ATOMS

    def _is_cheap(self, value: Value) -> bool:
        stack, budget = [value], 60
        while stack:
            at = stack.pop()
            budget -= 1
            if at.op not in _CHEAP or budget < 0:
                return False
            if self.name(at) is None:
                stack.extend(at.operands)
        return True

    def _same(self, node: Node, place: Node) -> bool:
        """Whether all names of an expression hold at the statement what they held at its place."""
        then, now = self.graph.before.get(place.id), self.env
        if then is None:
            return False
        for name in names_of(self.facts, node):
            a, b = then.get(name), now.get(name)
            if name.startswith(SELF) and (a is None or b is None):
                if a is not None:
                    return False
            elif (
                (a is None) != (b is None)
                or (a and b and a.value is not b.value)
                or (b is not None and not self._lives(b))
            ):
                return False
        return True

    def _runs(self, node: Node) -> bool:
        return any(
            v.op in _RUNS and v.node is not None
            for v in self.graph.values
            if v.node is not None and node.start_byte <= v.node.start_byte < node.end_byte
        )

    def _spelled(self, value: Value) -> tuple[str, bool]:
        """The text of a value that only the one spelling knows."""
        op, operands = value.op, value.operands
        if op == "const":
            return _constant(value), not (is_number(value) and value.attrs[1] < 0)
        if op == "permute":
            return self.permuted(operands[0], value.attrs), True
        if op == "unsqueeze":
            return f"{self.atom(operands[0])}.unsqueeze({value.attrs[0]})", True
        if op == "pow" and len(operands) == 1:
            divisor = self.divisor(value)
            if divisor is not None:
                return f"1 / {divisor}", False
            return f"{self.atom(operands[0])} ** {value.attrs[0]}", False
        if op == "mul":
            return f"{self.atom(operands[0])} * {self.atom(operands[1])}", False
        if op == "add":
            return f"{self.atom(operands[0])} + {self.atom(operands[1])}", False
        if op == "number" and len(operands) == 1 and not value.attrs:
            return self._text(operands[0])
        if op == "size" and len(value.attrs) == 1 and isinstance(value.attrs[0], int):
            return f"{self.atom(operands[0])}.size({value.attrs[0]})", True
        if op == "self" and f"{SELF}{value.attrs[0]}" not in self.env:
            return f"{SELF}{value.attrs[0]}", True
        if op == "not":
            return f"~{self.atom(operands[0])}", False
        raise Unspeakable(self._why(value))

    def divisor(self, value: Value) -> str | None:
        """The text of what a negative power divides by, as the source has it."""
        if value.op != "pow" or len(value.operands) != 1 or value.attrs[0] >= 0:
            return None
        base, wanted = value.operands[0], -value.attrs[0]
        if wanted == 1:
            return self.atom(base)
        for use in base.uses:
            other = use.user
            if other is not None and other.op == "pow" and other.attrs == (wanted,):
                with suppress(Unspeakable):
                    return self.atom(other)
        return None

    def _why(self, value: Value) -> str:
        if value.node is not None and value.body == self.graph.function:
            text = self.facts.code(value.node)
            if len(text) < 40 and "\n" not in text:
                return f"`{text}` is not at hand where the result is computed"
        return "an operand is not at hand where the result is computed"


def _constant(value: Value) -> str:
    found = value.attrs[1]
    if value.node is not None and value.node.text:
        return str(value.node.text.decode("utf-8", "replace"))
    return repr(found)


def reordered(value: Value, order: Order) -> str:
    """The call that puts the trailing dims of a value of this rank into an order."""
    moved = [at for at, source in enumerate(order) if source != at - len(order)]
    rank = value.rank
    if len(moved) == 2:
        a, b = (at - len(order) for at in moved)
        if rank is not None and (a, b) != (-2, -1):
            a, b = a + rank, b + rank
        return f".transpose({a}, {b})"
    if rank is None:
        raise Unspeakable("the number of dimensions is not known")
    kept = list(range(rank - len(order)))
    dims = [*kept, *(rank + source for source in order)]
    return f".permute({', '.join(map(str, dims))})"


def names_of(facts: PythonFacts, node: Node) -> Iterator[str]:
    """The names, `self.x` as one, that an expression reads."""
    stack = [node]
    while stack:
        at = stack.pop()
        if at.type == "identifier":
            yield facts.code(at)
        elif at.type == "attribute":
            owner = at.named_children[0]
            if owner.type == "identifier" and facts.code(owner) == "self":
                yield facts.code(at)
            stack.append(owner)
        elif at.type == "keyword_argument":
            stack.extend(at.named_children[1:])
        else:
            stack.extend(at.named_children)
