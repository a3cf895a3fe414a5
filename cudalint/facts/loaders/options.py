"""Options: what a `DataLoader` is given, `**kwargs` included, and whether it pins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from cudalint.facts.arguments import Arguments
    from cudalint.facts.python import PythonFacts

Pin = Literal["pinned", "unpinned", "unknown"]

# Where a positional argument of DataLoader(…) stands.
POSITIONS = {
    "dataset": 0,
    "batch_size": 1,
    "shuffle": 2,
    "sampler": 3,
    "batch_sampler": 4,
    "num_workers": 5,
    "collate_fn": 6,
    "pin_memory": 7,
}
_ON_CUDA = lazy_compile(r"cuda|available|gpu|device", re.I)
_DEPTH = 6


class Options:
    """The arguments of the loaders of one file."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    def arguments(self, call: Node) -> Arguments:
        """The arguments of a construction, those of visible `**kwargs` included.

        A dict may be made in several steps (`options["x"] = 1`, `options.update(more)`), also
        under a condition: what it may hold counts as given.
        """
        given = self.facts.names.arguments(call)
        keywords = dict(given.keywords)
        unseen = any(node.type == "list_splat" for node in call.children[-1].named_children)
        for splat in self._splats(call):
            entries = self._entries(splat, 0)
            unseen = unseen or entries is None
            keywords.update(entries or {})
        return given._replace(keywords=keywords, open=unseen)

    def argument(self, call: Node, name: str) -> Node | None:
        """One argument of a construction, by keyword or position."""
        return self.arguments(call).get(name, POSITIONS.get(name))

    def pin(self, call: Node) -> Pin:
        """Whether a construction pins its batches, as far as the file says."""
        given = self.arguments(call)
        node = given.get("pin_memory", POSITIONS["pin_memory"])
        if node is not None:
            return self._pin_of(node)
        return "unknown" if given.open else "unpinned"

    def _pin_of(self, node: Node) -> Pin:
        if node.type == "true":
            return "pinned"
        if node.type in ("false", "none") or self.facts.code(node) == "0":
            return "unpinned"
        if node.type == "identifier":
            values = [b.value for b in self.facts.flow.reaching(node)]
            if len(values) == 1 and values[0] is not None and values[0].type != "identifier":
                return "pinned" if self._pin_of(values[0]) == "pinned" else "unknown"
        default = self._default(node)
        if default is not None:
            return "pinned" if default.type == "true" else "unknown"
        return "pinned" if _ON_CUDA.search(self.facts.code(node)) else "unknown"

    def _default(self, node: Node) -> Node | None:
        """The default of a command-line option that an `args.name` reads."""
        if node.type != "attribute":
            return None
        name = self.facts.code(node.children[-1])
        for call in self.facts.calls("set_defaults"):
            if (given := self.facts.names.arguments(call).keywords.get(name)) is not None:
                return given
        return self.facts.devices.options.get(name)

    def _splats(self, call: Node) -> Iterator[Node]:
        given = call.child_by_field_name("arguments")
        for node in given.named_children if given is not None else ():
            if node.type == "dictionary_splat":
                yield node.named_children[0]

    def _entries(self, node: Node, depth: int) -> dict[str, Node] | None:
        """What a dict holds or may hold by key; None where that is not in sight."""
        if depth > _DEPTH:
            return None
        if node.type == "parenthesized_expression":
            return self._entries(node.named_children[0], depth + 1)
        if node.type in ("conditional_expression", "boolean_operator"):
            named = node.named_children
            return self._merged([named[0], named[-1]], depth)
        if node.type != "identifier":
            return self.facts.names.visible_dict(node)
        found = [b for b in self.facts.flow.reaching(node) if b.kind != "augment"]
        values = [b.value for b in found if b.value is not None and b.kind == "assign"]
        if not values or len(values) != len(found):
            return None
        writes = self._dict_writes(node)
        return None if writes is None else self._merged([*values, *writes[0]], depth, writes[1])

    def _merged(
        self, nodes: list[Node], depth: int, more: dict[str, Node] | None = None
    ) -> dict[str, Node] | None:
        made: dict[str, Node] = {}
        for node in nodes:
            entries = self._entries(node, depth + 1)
            if entries is None:
                return None
            made.update(entries)
        return {**made, **(more or {})}

    def _dict_writes(self, name: Node) -> tuple[list[Node], dict[str, Node]] | None:
        """The dicts that are put into a dict, and its keys that are set; None: changed elsehow."""
        merged: list[Node] = []
        keys: dict[str, Node] = {}
        for use in self.facts.identifiers(self.facts.code(name)):
            parent = use.parent
            if parent is None or parent.children[0] != use:
                continue
            if parent.type not in ("attribute", "subscript"):
                continue
            if self.facts.names.lookup(use) != self.facts.names.lookup(name):
                continue
            holder = parent.parent
            if parent.type == "subscript" and holder is not None and holder.type == "assignment":
                key, value = (
                    parent.child_by_field_name("subscript"),
                    holder.child_by_field_name("right"),
                )
                if holder.children[0] != parent or key is None or value is None:
                    continue
                if key.type != "string":
                    return None
                keys[self.facts.code(key).strip("\"'")] = value
            elif parent.type == "attribute" and holder is not None and holder.type == "call":
                method = self.facts.code(parent.children[-1])
                given = self.facts.names.arguments(holder)
                if method == "update":
                    merged += given.positional
                    keys.update(given.keywords)
                elif method in ("pop", "setdefault") and _is_other_key(given.positional):
                    if method == "setdefault":
                        word = self.facts.code(given.positional[0]).strip("\"'")
                        keys[word] = given.positional[-1]
                elif method in ("pop", "setdefault", "clear", "popitem"):
                    return None
        return merged, keys


def _is_other_key(given: list[Node]) -> bool:
    """Whether a key that is written out is taken out or put in, and not the one that pins."""
    key = given[0] if given else None
    return key is not None and key.type == "string" and b"pin_memory" not in (key.text or b"")
