"""The proof for `total += x.item()`: the sum stays on the device and is read after the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import LOOPS, ancestors, within
from cudalint.facts.postpone.proof import (
    Postponed,
    Proof,
    adds_to_itself,
    is_constant,
    mention,
    short,
    start_of,
    up_to,
)

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.bindings import Binding
    from cudalint.facts.names import Scope
    from cudalint.facts.python import PythonFacts

_ARITHMETIC = ("binary_operator", "parenthesized_expression", "unary_operator")
_NO_PRODUCT = ("//", "%", "**", "@", "&", "|", "^", "<<", ">>")
_SCALES = ("number", "unknown", "bottom")


class SumProof(Proof):
    """A sum: a name that starts as a number and that the loop only adds to."""

    mixed = False  # whether tensors are added to the sum already

    def proof(self, statement: Node) -> Postponed | str | None:
        target, right = (
            statement.child_by_field_name("left"),
            statement.child_by_field_name("right"),
        )
        operator = statement.child_by_field_name("operator")
        if target is None or right is None:
            return None
        if operator is not None and self.facts.code(operator) not in ("+=", "-="):
            return None
        if adds_to_itself(self.facts, statement):
            right = right.child_by_field_name("right")
        if right is None or not self._is_product(right):
            return None
        if (reason := self._scales(right)) is not None:
            return reason
        found = self.local(target)
        return found if isinstance(found, str) else self._collected(target, right, *found)

    # -- the term -----------------------------------------------------------------------------

    def _is_product(self, right: Node) -> bool:
        """Whether only `+ - * /` and brackets stand around the read."""
        if right == self.read:
            return True
        for holder in [*up_to(self.read, right), right]:
            if holder.type not in _ARITHMETIC:
                return False
            operator = holder.child_by_field_name("operator")
            if operator is not None and self.facts.code(operator) in _NO_PRODUCT:
                return False
        return True

    def _scales(self, right: Node) -> str | None:
        """Why something in the term is no number, None where all is well."""
        stack = [right]
        while stack:
            node = stack.pop()
            if node == self.read:
                continue
            if node.type in _ARITHMETIC:
                stack.extend(child for child in node.named_children if child.type != "comment")
                continue
            kind = self.facts.tensors.value(node).kind
            self.mixed = self.mixed or kind in ("tensor", "output")
            if kind not in (*_SCALES, "tensor"):
                return f"`{short(self.facts, node)}` in the sum may be no number"
        return None

    # -- the sum ------------------------------------------------------------------------------

    def _collected(
        self, target: Node, right: Node, scope: Scope, bindings: list[Binding]
    ) -> Postponed | str:
        name = self.facts.code(target)
        mentions = self.mentions(target, scope)
        if mentions is None:
            return f"`{name}` is read by a nested function"
        starts = self._starts(target)
        if not starts:
            return f"`{name}` does not start as a number"
        loop = self.collector(target, starts[0].node)
        if isinstance(loop, str):
            return loop
        inside = [b for b in bindings if within(b.node, loop)]
        resets = [b for b in inside if b.kind == "assign" and is_constant(b.value)]
        number = self._type(right, inside, [*starts, *resets])
        if number is None:
            return f"`{name}` may be whole or not"
        if not self.survives_exceptions(mentions, loop):
            return f"`{name}` may be read after an exception"
        return self._read_once(name, number, mentions, loop)

    def _read_once(
        self, name: str, number: str, mentions: list[Node], loop: Node
    ) -> Postponed | str:
        reads = self._reads(name, [use for use in mentions if within(use, loop)])
        if isinstance(reads, str):
            return reads
        after = any(use.start_byte >= loop.end_byte for use in mentions)
        done = _is_number_again(self.facts, loop, name)
        if self.mixed and after and not done:
            return f"`{name}` is a tensor already"
        keep = self.keep(False) + (
            ".double()" if number == "float" and self.value.is_integer else ""
        )
        place = loop if after and not done else None
        return Postponed("sum", name, number, self.read, self.operand, keep, reads, place)

    def _starts(self, target: Node) -> list[Binding]:
        """The literal numbers that the sum starts from before the loop, the nearest first."""
        loop = next((node for node in ancestors(self.read) if node.type in LOOPS), None)
        reaching = self.facts.flow.reaching(target)
        outside = [b for b in reaching if loop is None or not within(b.node, loop)]
        starts = [b for b in outside if b.kind != "augment"]
        if not all(is_constant(start_of(binding)) for binding in starts):
            return []
        return sorted(starts, key=lambda binding: binding.node.start_byte, reverse=True)

    def _type(self, right: Node, inside: list[Binding], starts: list[Binding]) -> str | None:
        """ "float" or "int" by the terms, the starts and the casts; None where they do not say."""
        if self.cast == "int" and not self.value.is_integer:
            return None
        others = [b.value for b in inside if b.kind == "augment" and b.value not in (None, right)]
        values = [self.facts.tensors.value(node) for node in others if node is not None]
        self.mixed = self.mixed or any(value.is_tensor for value in values)
        floating = self.number() == "float" or b"/" in (right.text or b"")
        floating = floating or any(start_of(binding).type == "float" for binding in starts)  # type: ignore[union-attr]
        if floating:
            first = self.value.is_integer and bool(others)  # takes no fraction in place later
            return None if first or any(value.is_integer for value in values) else "float"
        exact = self.value.dtype in ("int64", "bool") and right == self.read and not others
        return "int" if exact else None

    def _reads(self, name: str, inside: list[Node]) -> tuple[Node, ...] | str:
        """The mentions in the loop that read the number, each of them outside of hot code."""
        reads = []
        for use in inside:
            kind = mention(self.facts, use)
            if kind in ("reset", "add"):
                continue
            if kind == "write":
                if self._is_cast_of_itself(use):
                    continue
                return f"`{name}` is changed at line {self.row(use)}"
            if self.facts.loops.hot(use) is not None:
                return f"`{name}` is read every step at line {self.row(use)}"
            if not _is_cast(self.facts, use):
                reads.append(use)
        return tuple(reads)

    def _is_cast_of_itself(self, use: Node) -> bool:
        statement = self.facts.names.statement(use)
        return _is_cast_again(self.facts.code(statement))


def _is_cast(facts: PythonFacts, use: Node) -> bool:
    """`float(x)`, `int(x)`: reads already, whatever x is."""
    arguments = use.parent
    call = arguments.parent if arguments is not None else None
    if arguments is None or arguments.type != "argument_list" or call is None:
        return False
    return facts.names.callee(call) in ("builtins.float", "builtins.int")


def _is_cast_again(code: str) -> bool:
    """Whether a statement is `total = float(total)`, or the like with `int`."""
    name, _, made = code.partition(" = ")
    return name.isidentifier() and made in (f"float({name})", f"int({name})")


def _is_number_again(facts: PythonFacts, loop: Node, name: str) -> bool:
    """Whether `total = float(total)` stands after the loop already, among its like."""
    after = loop.next_named_sibling
    while after is not None and (after.type == "comment" or _is_cast_again(facts.code(after))):
        if facts.code(after) in (f"{name} = float({name})", f"{name} = int({name})"):
            return True
        after = after.next_named_sibling
    return False
