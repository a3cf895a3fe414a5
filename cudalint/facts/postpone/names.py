"""The proof for `last = x.item()` that throttled code alone looks at: it is read there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.postpone.proof import Postponed, Proof, mention

if TYPE_CHECKING:
    from tree_sitter import Node


class NameProof(Proof):
    """A name that holds this number and no other wherever it is read."""

    def proof(self, assignment: Node) -> Postponed | str | None:
        target = assignment.child_by_field_name("left")
        if target is None:
            return None
        found = self.local(target)
        if isinstance(found, str):
            return found
        if self.cast not in ("item", self.number()):
            return "the cast changes the number"
        name = self.facts.code(target)
        mentions = self.mentions(target, found[0])
        if mentions is None:
            return f"`{name}` is read by a nested function"
        reads = self._reads(target, name, mentions)
        if isinstance(reads, str):
            return reads
        keep = self.keep(True)
        return Postponed("name", name, self.cast, self.read, self.operand, keep, reads)

    def _reads(self, target: Node, name: str, mentions: list[Node]) -> tuple[Node, ...] | str:
        reads = []
        for use in mentions:
            reaching = self.facts.flow.reaching(use)
            if use == target or not any(binding.node == target for binding in reaching):
                continue
            if mention(self.facts, use) in ("reset", "write") and len(reaching) > 0:
                continue  # bound anew
            if len(reaching) != 1 or mention(self.facts, use) != "read":
                return f"`{name}` may hold another number at line {self.row(use)}"
            if self.facts.loops.hot(use) is not None:
                return f"`{name}` is read every step at line {self.row(use)}"
            reads.append(use)
        return tuple(reads)
