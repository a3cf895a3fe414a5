"""Patterns that are sought by the words in them first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property


class Rare:
    """A pattern whose every match lies in one row, with one of some words: other rows are skipped.

    Searching for a word takes a tenth of the time of a pattern that begins with a choice. Without
    words every row is looked at. Compiled when it is first needed.
    """

    def __init__(self, words: tuple[bytes, ...], pattern: bytes) -> None:
        self.words, self.pattern = words, pattern

    @cached_property
    def _compiled(self) -> re.Pattern[bytes]:
        return re.compile(self.pattern, re.MULTILINE)

    def finditer(self, text: bytes) -> Iterator[re.Match[bytes]]:
        """The matches of the pattern, in order."""
        if not self.words:
            yield from self._compiled.finditer(text)
        for start, end in sorted(set(self._rows(text))):
            yield from self._compiled.finditer(text, start, end)

    def search(self, text: bytes) -> re.Match[bytes] | None:
        """A match of the pattern, not always the first one."""
        if not self.words:
            return self._compiled.search(text)
        found = (self._compiled.search(text, *row) for row in self._rows(text))
        return next((match for match in found if match is not None), None)

    def _rows(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where the rows with a word begin and end; those with several words come again."""
        for word in self.words:
            at = text.find(word)
            while at >= 0:
                end = text.find(b"\n", at)
                end = len(text) if end < 0 else end
                yield text.rfind(b"\n", 0, at) + 1, end
                at = text.find(word, end)
