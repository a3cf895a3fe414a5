"""Which rules may fire, read off the bytes: most files are done here and never parsed.

Words are necessary, never sufficient. The first pass looks at the whole file; the second asks, for
rules whose words must meet in one place, whether any one top-level definition holds them all, and
for rules about hot code whether hot code reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cudalint.rare import Rare
from cudalint.registry import HOT

if TYPE_CHECKING:
    from cudalint.registry import Rule, Words

Word = bytes | Rare

_STARTS = (b"\ndef ", b"\nclass ", b"\nasync def ", b"\n@")
_NAMED = re.compile(rb"^(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", re.MULTILINE)
_OUTSIDE = re.compile(rb"^[^\s#)\]}'\"]", re.MULTILINE)


class Part(NamedTuple):
    """A top-level definition with its decorators, and what follows up to the next one.

    `name` is None for what stands before the first definition.
    """

    start: int
    text: bytes
    name: bytes | None


def survivors(
    text: bytes, rules: Iterable[Rule], hot_functions: Iterable[str] = ()
) -> tuple[Rule, ...]:
    """The rules whose trigger words occur in `text`.

    `hot_functions` are the words that count as `HOT` beside the registry's.
    """
    seen: dict[Word, bool] = {}

    def occurs(word: Word) -> bool:
        if word not in seen:
            seen[word] = _occurs(word, text)
        return seen[word]

    hot = _hot(hot_functions)
    first = [
        rule
        for rule in rules
        if _holds(rule.words, occurs)
        and _holds(rule.within, occurs)
        and (not rule.hot or any(map(occurs, hot)))
    ]
    if not any(rule.within for rule in first):
        return tuple(first)
    parts = definitions(text)
    return tuple(rule for rule in first if not rule.within or _meet(rule, parts, hot))


def _header(part: bytes) -> int | None:
    """Where the body of a definition begins: after the first row that ends in a colon."""
    named = _NAMED.search(part)
    if named is None:
        return None
    row = re.compile(rb":[ \t]*(?:#[^\n]*)?\r?\n(?=[ \t]+\S)").search(part, named.end())
    return None if row is None else row.end()


def _hot(functions: Iterable[str]) -> tuple[Word, ...]:
    return (*HOT, *(name.encode() for name in functions))


def _holds(words: Words, occurs: Callable[[Word], bool]) -> bool:
    return all(any(map(occurs, group)) for group in words)


def _occurs(word: Word, text: bytes) -> bool:
    if isinstance(word, bytes):
        return word in text
    return word.search(text) is not None


def _occurring(text: bytes) -> Callable[[Word], bool]:
    return partial(_occurs, text=text)


def _meet(rule: Rule, parts: list[Part], hot: tuple[Word, ...]) -> bool:
    if next(_places(rule, parts, hot), None) is not None:
        return True
    return _holds(rule.within, _occurring(_between(parts)))


def _places(rule: Rule, parts: list[Part], hot: tuple[Word, ...]) -> Iterator[Part]:
    """The parts where a rule's words meet; for a hot rule those that hot code reaches."""
    for part in parts:
        meets = _holds(rule.within, _occurring(part.text))
        if meets and (not rule.hot or _is_reached(part, parts, hot)):
            yield part


def _is_reached(part: Part, parts: list[Part], hot: tuple[Word, ...]) -> bool:
    """Whether a definition holds a hot word, or is named in one that is reached."""
    seen, todo = {part.start}, [part]
    while todo:
        at = todo.pop()
        if at.name is None or any(map(_occurring(at.text), hot)):
            return True
        callers = [p for p in parts if p.start not in seen and _names(p.text, at.name)]
        seen.update(caller.start for caller in callers)
        todo += callers
    return False


def _names(text: bytes, name: bytes) -> bool:
    """Whether a text holds a name as a whole word."""
    return name in text and re.search(rb"\b%b\b" % name, text) is not None


def _between(parts: list[Part]) -> bytes:
    """The code between definitions, in one piece."""
    pieces = []
    for part in parts:
        header = _header(part.text) if part.name is not None else 0
        after = _OUTSIDE.search(part.text, header) if header is not None else None
        pieces.append(part.text[after.start() :] if after else b"")
    return b"\n".join(pieces)


def definitions(text: bytes) -> list[Part]:
    """The parts of a text, in order; together they are the text."""
    starts = _starts(text)
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    bounds = [*starts, len(text)]
    return [_part(text, low, high) for low, high in pairwise(bounds)]


def _part(text: bytes, low: int, high: int) -> Part:
    part = text[low:high]
    named = _NAMED.search(part) if part[:1] in (b"@", b"d", b"c", b"a") else None
    return Part(low, part, named.group(1) if named else None)


def _starts(text: bytes) -> list[int]:
    found = []
    for word in _STARTS:
        at = text.find(word)
        while at >= 0:
            found.append(at + 1)
            at = text.find(word, at + 1)
    if text.startswith(tuple(word[1:] for word in _STARTS)):
        found.append(0)
    found.sort()
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


def _in_string(text: bytes, start: int, end: int) -> bool:
    """Whether a triple-quoted string that begins after `start` is still open at `end`."""
    return bool(text.count(b'"""', start, end) % 2 or text.count(b"'''", start, end) % 2)
