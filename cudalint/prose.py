"""What in a Python text is prose: strings in triple quotes, and rows that are comments."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from cudalint.lazy import lazy_compile

QUOTES = (b'"""', b"'''")
# What may stand before the quotes that open a string; a quote or a backslash there means that they
# stand in a string themselves.
_OPENING = lazy_compile(rb"(?:^|[\s=(\[{,:+%])(?:[rRbBfFuU]{1,2})?\Z")


class Prose:
    """The ranges of a text that hold no code.

    Where quotes cannot be paired for certain no string is taken for one: what is not prose may be
    called code, never the other way round.
    """

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._strings = _paired(text)
        self._starts = [start for start, _ in self._strings]

    def without(self, places: Iterable[int]) -> Iterator[int]:
        """The places that do not lie in prose."""
        text, starts, strings = self.text, self._starts, self._strings
        for at in places:
            string = bisect_right(starts, at) - 1
            if string >= 0 and at < strings[string][1]:
                continue
            if not text[text.rfind(b"\n", 0, at) + 1 : at + 1].lstrip().startswith(b"#"):
                yield at


def _paired(text: bytes) -> list[tuple[int, int]]:
    """The strings in triple quotes, formatted ones left out; none, where any quotes are doubtful."""
    found: list[tuple[int, int]] = []
    ahead = {quotes: -1 for quotes in QUOTES}  # where each stands next, the end where nowhere
    at = 0
    while True:
        for quotes, place in ahead.items():
            if place < at:
                ahead[quotes] = _find(text, quotes, at)
        start = min(ahead.values())
        if start == len(text):
            return found
        row = text[text.rfind(b"\n", 0, start) + 1 : start].lstrip()
        if row.startswith(b"#"):
            at = start + 1
            continue
        prefix = _prefix(row)
        end = _closing(text, start)
        if prefix is None or end == len(text):
            return []
        if b"f" not in prefix:
            found.append((start, end))
        at = end + 3


def _prefix(row: bytes) -> bytes | None:
    """What stands before the quotes of a string, where a row before them lets one begin."""
    if not row:
        return b""
    opening = _OPENING.search(row[-4:])
    return None if opening is None or b"#" in row else opening.group().lower()


def _closing(text: bytes, start: int) -> int:
    """Where the quotes that end a string begin; the end of the text where nothing does."""
    quotes = text[start : start + 3]
    at = _find(text, quotes, start + 3)
    while text[at - 1 : at] == b"\\" and at < len(text):
        at = _find(text, quotes, at + 1)
    return at


def _find(text: bytes, word: bytes, start: int) -> int:
    at = text.find(word, start)
    return len(text) if at < 0 else at
