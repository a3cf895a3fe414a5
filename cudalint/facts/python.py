"""The facts of a Python file: each is a module of its own, made when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts import Facts
from cudalint.facts.words import Word, Words, places
from cudalint.prose import Prose

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.devices import Devices
    from cudalint.facts.flow import Flow
    from cudalint.facts.graph.graphs import Graphs
    from cudalint.facts.loaders import Loaders
    from cudalint.facts.loops import Loops
    from cudalint.facts.names import Names
    from cudalint.facts.tensors import Tensors


class PythonFacts(Facts):
    """Names, loops, tensors and value graphs of one Python file.

    `hot`: where the first look found that code may run every step (see `sieve.Passed`).
    """

    hot: tuple[int, ...] | None = None

    @cached_property
    def names(self) -> Names:
        from cudalint.facts.names import Names

        return Names(self)

    @cached_property
    def flow(self) -> Flow:
        from cudalint.facts.flow import Flow

        return Flow(self)

    @cached_property
    def devices(self) -> Devices:
        from cudalint.facts.devices import Devices

        return Devices(self)

    @cached_property
    def loaders(self) -> Loaders:
        from cudalint.facts.loaders import Loaders

        return Loaders(self)

    @cached_property
    def loops(self) -> Loops:
        from cudalint.facts.loops import Loops

        return Loops(self)

    @cached_property
    def tensors(self) -> Tensors:
        from cudalint.facts.tensors import Tensors

        return Tensors(self)

    @cached_property
    def graphs(self) -> Graphs:
        from cudalint.facts.graph.graphs import Graphs

        return Graphs(self)

    def identifiers(
        self, *words: str, inside: Node | None = None, where: Callable[[int], bool] | None = None
    ) -> Iterator[Node]:
        """The identifier nodes spelled like one of `words`, in source order.

        Found in the bytes first, so it costs nothing where the word does not occur; words in
        strings and comments are no identifiers. Only those inside a node, or at offsets that
        `where` wants, are looked at if it is given.
        """
        return self._words.nodes([word.encode() for word in words], *self._range(inside), where)

    def _range(self, node: Node | None) -> tuple[int, int]:
        return (0, len(self.text)) if node is None else (node.start_byte, node.end_byte)

    def places(self, word: Word) -> list[int]:
        """Where a word or a pattern occurs in the code, in order: comments and prose left out."""
        if (known := self._places.get(word)) is None:
            found = self._prose.without(places(self.text, word))
            known = self._places[word] = list(found)
        return known

    def holds(self, group: Iterable[Word], start: int, end: int) -> bool:
        """Whether the code in a range of rows holds one of some words."""
        for word in group:
            if isinstance(word, bytes) and self.text.find(word, start, end) < 0:
                continue
            if any(True for _ in self._prose.without(places(self.text, word, start, end))):
                return True
        return False

    @cached_property
    def _prose(self) -> Prose:
        return Prose(self.text)

    @cached_property
    def _places(self) -> dict[Word, list[int]]:
        return {}

    @cached_property
    def _words(self) -> Words:
        return Words(self.text, self._prose, self.trees)

    def calls(
        self, *names: str, inside: Node | None = None, where: Callable[[int], bool] | None = None
    ) -> Iterator[Node]:
        """The calls whose callee ends in one of `names` (`x.item()`, `torch.load(…)`, `f()`)."""
        spelled = [name.encode() for name in names]
        for node in self._words.nodes(spelled, *self._range(inside), where, called=True):
            callee = node
            parent = node.parent
            if parent is not None and parent.type == "attribute":
                if parent.child_by_field_name("attribute") != node:
                    continue
                callee, parent = parent, parent.parent
            if parent is None or parent.type != "call":
                continue
            if parent.child_by_field_name("function") == callee:
                yield parent
