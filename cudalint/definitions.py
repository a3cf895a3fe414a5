"""The definitions of a Python text, read off the bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, pairwise

from cudalint.lazy import lazy_compile
from cudalint.records import NamedTuple

_STARTS = (b"\ndef ", b"\nclass ", b"\nasync def ", b"\n@")
_NAMED = lazy_compile(rb"^(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", re.MULTILINE)
_BODY = lazy_compile(rb":[ \t]*(?:#[^\n]*)?\r?\n(?=[ \t]+\S)")
_HEADERS = tuple(lazy_compile(word + rb"[ \t]+(\w*)") for word in (rb"def", rb"class"))
# Sought from row to row by the end of the one before, six times faster than by `^`.
_OUTSIDE = lazy_compile(rb"\n[^\s#)\]}'\"]")


class Part(NamedTuple):
    """A top-level definition with its decorators, and what follows up to the next one.

    `name` is None for what stands before the first definition.
    """

    start: int
    end: int
    name: bytes | None


class Function(NamedTuple):
    """A function, nested ones too: its bytes without decorators, and the class it stands in.

    `end` is where the next header begins that is indented no deeper: at the earliest its own end.
    """

    start: int
    end: int
    name: bytes
    holder: bytes | None


def definitions(text: bytes) -> list[Part]:
    """The parts of a text, in order; together they are the text."""
    starts = _starts(text)
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    return [_part(text, low, high) for low, high in pairwise([*starts, len(text)])]


def outside(text: bytes, part: Part) -> int:
    """Where the code after a part's definition begins, up to the part's end."""
    at = _body(text, part) if part.name is not None else part.start
    if at is None:
        return part.end
    if at == 0 and _OUTSIDE.match(b"\n" + text[:1]):
        return 0
    in_string = False
    for row in _OUTSIDE.finditer(text, max(at - 1, 0), part.end):
        in_string ^= _in_string(text, at, row.start())
        at = row.start()
        if not in_string:
            return at + 1
    return part.end


def _part(text: bytes, low: int, high: int) -> Part:
    named = (
        _NAMED.search(text, low, high) if text[low : low + 1] in (b"@", b"d", b"c", b"a") else None
    )
    return Part(low, high, named.group(1) if named else None)


def _body(text: bytes, part: Part) -> int | None:
    """Where the body of a definition begins: after the first row that ends in a colon."""
    named = _NAMED.search(text, part.start, part.end)
    if named is None:
        return None
    row = _BODY.search(text, named.end(), part.end)
    return None if row is None else row.end()


def _starts(text: bytes) -> list[int]:
    found = sorted(_rows(text))
    kept: list[int] = []
    decorated = False
    last = 0
    for at in found:
        if _in_string(text, last, at):
            continue
        last = at
        if not decorated:
            kept.append(at)
        decorated = text[at : at + 1] == b"@"
    return kept


def _rows(text: bytes) -> Iterator[int]:
    """Rows that begin as a definition or a decorator does."""
    if text.startswith(tuple(word[1:] for word in _STARTS)):
        yield 0
    for word in _STARTS:
        at = text.find(word)
        while at >= 0:
            yield at + 1
            at = text.find(word, at + 1)


def _in_string(text: bytes, start: int, end: int) -> bool:
    """Whether a triple-quoted string that begins after `start` is still open at `end`."""
    return bool(text.count(b'"""', start, end) % 2 or text.count(b"'''", start, end) % 2)


@lru_cache(maxsize=1)  # many rules ask one text, in turn
def functions(text: bytes) -> list[Function]:
    """Where the functions of a text stand, in order."""
    made = []
    found = sorted(_headers(text))
    classes: list[tuple[int, bytes]] = []
    for at, (start, indent, is_class, name) in enumerate(found):
        while classes and classes[-1][0] >= indent:
            classes.pop()
        if is_class:
            classes.append((indent, name))
            continue
        end = next((s for s, i, _, _ in islice(found, at + 1, None) if i <= indent), len(text))
        made.append(Function(start, end, name, classes[-1][1] if classes else None))
    return made


def _headers(text: bytes) -> Iterator[tuple[int, int, bool, bytes]]:
    """Where `def`s and `class`es begin, how deep they are indented, and what they define."""
    for is_class, word in enumerate(_HEADERS):
        for match in word.finditer(text):
            row = text.rfind(b"\n", 0, match.start()) + 1
            before = text[row : match.start()]
            lead = before.lstrip(b" \t")
            if lead.rstrip() in (b"", b"async"):
                indent = len(before) - len(lead)
                yield row + indent, indent, bool(is_class), match.group(1)
