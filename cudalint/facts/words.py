"""Where a word stands as an identifier: searched in the bytes first, indexed once it pays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.occurrences import whole
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

# A search costs about 0.1 ms for 400 kB, the index 20 ms; most files are asked for few words.
ENOUGH_SEARCHES = 200
_WORD = lazy_compile(rb"[A-Za-z_][A-Za-z_0-9]*")


Word = bytes | re.Pattern[bytes] | Rare


def places(text: bytes, word: Word) -> Iterator[int]:
    """Where a word or a pattern occurs in a text, in order."""
    if not isinstance(word, bytes):
        yield from (match.start() for match in word.finditer(text))
        return
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


class Words:
    """The identifier nodes of one text by their spelling."""

    def __init__(self, text: bytes, root: Node) -> None:
        self.text, self.root = text, root
        self._nodes: dict[bytes, list[Node]] = {}
        self._index: dict[bytes, list[int]] | None = None

    def nodes(self, word: bytes) -> list[Node]:
        """The identifiers spelled `word`, in source order; not those in strings and comments."""
        if (known := self._nodes.get(word)) is not None:
            return known
        size, root = len(word), self.root
        found = []
        for at in self._places(word):
            node = root.descendant_for_byte_range(at, at + size)
            if node is None or node.type != "identifier":
                continue
            if node.start_byte == at and node.end_byte == at + size:
                found.append(node)
        self._nodes[word] = found
        return found

    def _places(self, word: bytes) -> Iterator[int] | list[int]:
        if self._index is None and len(self._nodes) >= ENOUGH_SEARCHES:
            self._index = {}
            for match in _WORD.finditer(self.text):
                self._index.setdefault(match.group(), []).append(match.start())
        if self._index is None or not word.isascii():
            return whole(self.text, word)
        return self._index.get(word, [])
