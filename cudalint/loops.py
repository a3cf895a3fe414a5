"""The loops of a Python text, read off its rows."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache

from cudalint.hooks import is_part
from cudalint.lazy import lazy_compile
from cudalint.records import NamedTuple

_HEAD = lazy_compile(rb"(?:async[ \t]+)?for\b(.*?)\bin\b\s*(.)", re.DOTALL)
_NAME = lazy_compile(rb"\w+")
_HEAD_SIZE, _FAR = 400, 200  # bytes that are looked at


class Loop(NamedTuple):
    """A `for` or `while` with all that is indented deeper, and its `else`.

    `parts`: it may go through the parts of one step, `for optimizer in optimizers:`.
    """

    start: int
    end: int
    parts: bool


class Loops:
    """The loops that are statements; `words`: where `for` and `while` stand in the code, in order."""

    def __init__(self, text: bytes, words: Iterable[int]) -> None:
        self.all = list(_loops(text, words))
        self._starts = [loop.start for loop in self.all]
        self._around: list[int] = []
        for number, loop in enumerate(self.all):
            self._around.append(self._holder(number - 1, loop.start))

    def around(self, place: int) -> Iterator[Loop]:
        """The loops around a place, innermost first."""
        number = self._holder(bisect_right(self._starts, place) - 1, place)
        while number >= 0:
            yield self.all[number]
            number = self._around[number]

    def _holder(self, number: int, place: int) -> int:
        """The number of the loop that holds a place, among one and those around it; -1: none."""
        while number >= 0 and self.all[number].end <= place:
            number = self._around[number]
        return number


def _loops(text: bytes, words: Iterable[int]) -> Iterator[Loop]:
    for at in words:
        row = text.rfind(b"\n", 0, at) + 1
        lead = text[row:at]
        if lead.strip() in (b"", b"async"):
            indent = len(lead) - len(lead.lstrip(b" \t"))
            yield Loop(row + indent, _end(text, at, indent), _has_parts(text[at : at + _HEAD_SIZE]))


def _has_parts(head: bytes) -> bool:
    """Whether a loop's row names something that a step has several of, or cannot be read."""
    if head.startswith(b"while"):
        return False
    read = _HEAD.match(head)
    if read is None or read[2] in b"[(":
        return True
    return any(is_part(name.decode()) for name in _NAME.findall(read[1]))


def _end(text: bytes, start: int, indent: int) -> int:
    """Where the code begins that is indented no deeper: no string, and no row that goes on."""
    for row in _outside(indent).finditer(text, start):
        at = row.start()
        is_open = text[max(start, at - _FAR) : at].rstrip()[-1:] in (b",", b"(", b"[", b"{", b"\\")
        in_string = text.count(b'"""', start, at) % 2 or text.count(b"'''", start, at) % 2
        if not is_open and not in_string:
            return at + 1
    return len(text)


@cache
def _outside(indent: int) -> re.Pattern[bytes]:
    """A row of code that begins further left, or as far right and is no `else`."""
    code = rb"(?![\s#)\]}'\"])"
    left = rb"[ \t]{0,%d}%b|" % (indent - 1, code) if indent else b""
    return re.compile(rb"\n(?:%b[ \t]{%d}%b(?!else\b))" % (left, indent, code))
