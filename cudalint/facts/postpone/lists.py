"""The proof for `losses.append(x.item())`: tensors are kept, and read together after the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import within
from cudalint.facts.postpone.proof import Postponed, Proof, mention, short, start_of

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


class ListProof(Proof):
    """A list: a name that starts as `[]` and that the loop only appends to."""

    def proof(self, call: Node) -> Postponed | str | None:
        target = call.children[0].children[0]
        if not self.value.scalar:
            return f"`{short(self.facts, self.operand)}` may have dimensions"
        if self.cast not in ("item", self.number()):
            return "the cast changes the number"
        found = self.local(target)
        if isinstance(found, str):
            return found
        name = self.facts.code(target)
        mentions = self.mentions(target, found[0])
        if mentions is None:
            return f"`{name}` is read by a nested function"
        starts = self.facts.flow.reaching(target)
        first = start_of(starts[0]) if len(starts) == 1 else None
        if first is None or self.facts.code(first) != "[]":
            return f"`{name}` does not start as an empty list"
        loop = self.collector(target, starts[0].node)
        return loop if isinstance(loop, str) else self._collected(target, name, mentions, loop)

    def _collected(
        self, target: Node, name: str, mentions: list[Node], loop: Node
    ) -> Postponed | str:
        for use in mentions:
            before = use.start_byte < loop.start_byte and mention(self.facts, use) == "read"
            inside = within(use, loop) and use != target and not _is_length(self.facts, use)
            if before or inside:
                return f"`{name}` is used at line {self.row(use)} as well"
        if not self.survives_exceptions(mentions, loop):
            return f"`{name}` may be read after an exception"
        after = any(use.start_byte >= loop.end_byte for use in mentions)
        place = loop if after else None
        keep = self.keep(True)
        return Postponed("list", name, "", self.read, self.operand, keep, (), place)


def _is_length(facts: PythonFacts, use: Node) -> bool:
    arguments = use.parent
    call = arguments.parent if arguments is not None else None
    return call is not None and call.type == "call" and facts.names.callee(call) == "builtins.len"
