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

    def __init__(self, text: bytes, quotes: Iterable[int]) -> None:
        """`quotes`: where the quotes of `QUOTES` stand, in order."""
        self.text = text
        self._strings = _paired(text, quotes)
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


def _paired(text: bytes, quotes: Iterable[int]) -> list[tuple[int, int]]:
    """The strings in triple quotes, formatted ones left out; none, where any of the quotes is doubtful."""
    found: list[tuple[int, int]] = []
    start, end, is_code = -1, 0, False
    for at in quotes:
        if at < end:
            continue
        if start >= 0:
            if text[at : at + 3] == text[start : start + 3] and text[at - 1 : at] != b"\\":
                found += [] if is_code else [(start, at)]
                start, end = -1, at + 3
            continue
        row = text[text.rfind(b"\n", 0, at) + 1 : at]
        if row.lstrip().startswith(b"#"):
            continue
        opening = _OPENING.search(row[-4:])
        if opening is None or b"#" in row:
            return []
        start, end, is_code = at, at + 3, b"f" in opening.group().lower()
    return found if start < 0 else []
