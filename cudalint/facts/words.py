"""Where a word stands as an identifier: searched in the bytes first, indexed once it pays."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.occurrences import whole
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.trees import Parts, Whole
    from cudalint.prose import Prose

# A search costs about 0.1 ms for 400 kB, the index 20 ms; most files are asked for few words.
ENOUGH_SEARCHES = 200
_BETWEEN = (b"(", b"#", b"\\", b"")
_WORD = lazy_compile(rb"[A-Za-z_][A-Za-z_0-9]*")


Word = bytes | re.Pattern[bytes] | Rare


def places(text: bytes, word: Word, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Where a word or a pattern occurs in a text, or in whole rows of it, in order."""
    stop = len(text) if end is None else end
    if not isinstance(word, bytes):
        yield from (match.start() for match in word.finditer(text, start, stop))
        return
    at = text.find(word, start, stop)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word), stop)


class Words:
    """The identifier nodes of one text by their spelling."""

    def __init__(self, text: bytes, prose: Prose, trees: Whole | Parts) -> None:
        self.text, self.prose, self.trees = text, prose, trees
        self._places: dict[bytes, list[int]] = {}
        self._nodes: dict[int, Node | None] = {}
        self._index: dict[bytes, list[int]] | None = None

    def nodes(
        self,
        words: Sequence[bytes],
        start: int,
        end: int,
        where: Callable[[int], bool] | None = None,
        called: bool = False,
    ) -> Iterator[Node]:
        """The identifiers spelled like one of `words` in a range, in source order.

        Not those in strings and comments. `where` chooses places before the tree is asked, `called`
        those that an argument list may follow.
        """
        for at, size in self._in_range(words, start, end):
            if (where is None or where(at)) and (not called or self._opens(at + size)):
                node = self._node(at, size)
                if node is not None:
                    yield node

    def _opens(self, at: int) -> bool:
        """Whether arguments may begin at an offset, behind blanks, comments and ends of rows."""
        return self.text[at : at + 1] == b"(" or self.text[at : at + 80].lstrip()[:1] in _BETWEEN

    def _in_range(self, words: Sequence[bytes], start: int, end: int) -> list[tuple[int, int]]:
        found = []
        for word in words:
            if (places := self._places.get(word)) is None:
                places = self._places[word] = list(self._sought(word))
            low, high = bisect_left(places, start), bisect_left(places, end)
            found += [(at, len(word)) for at in places[low:high]]
        return found if len(words) == 1 else sorted(found)

    def _node(self, at: int, size: int) -> Node | None:
        """The identifier of so many bytes at an offset."""
        if at in self._nodes:
            return self._nodes[at]
        node = self.trees.at(at, at + size)
        fits = node is not None and node.type == "identifier" and node.start_byte == at
        made = self._nodes[at] = (
            node if node is not None and fits and node.end_byte == at + size else None
        )
        return made

    def _sought(self, word: bytes) -> Iterator[int] | list[int]:
        if self._index is None and len(self._places) >= ENOUGH_SEARCHES:
            self._index = {}
            for match in _WORD.finditer(self.text):
                self._index.setdefault(match.group(), []).append(match.start())
        if self._index is None or not word.isascii():
            return whole(self.text, word)
        return self._index.get(word, [])
