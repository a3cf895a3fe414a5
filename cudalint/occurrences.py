"""Where many words occur in a text: all of them found in one pass (Aho and Corasick, 1975)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ahocorasick_rs import BytesAhoCorasick, Implementation

from cudalint.prose import QUOTES, Prose
from cudalint.rare import Rare

if TYPE_CHECKING:
    from cudalint.model import Language

Word = bytes | Rare

PART = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789")


class Vocabulary:
    """Words and the words of patterns, ready to be sought together."""

    def __init__(self, words: Iterable[Word]) -> None:
        found = sorted({*QUOTES, *(plain for word in words for plain in _plain(word))})
        self.numbers = {word: number for number, word in enumerate(found)}
        self.automaton = BytesAhoCorasick(found, implementation=Implementation.DFA)

    def numbers_of(self, group: tuple[Word, ...]) -> frozenset[int] | None:
        """The numbers of the words one of which a text must hold for a group to occur in it.

        None where a pattern without words is among them.
        """
        if any(not _plain(word) for word in group):
            return None
        return frozenset(self.numbers[plain] for word in group for plain in _plain(word))


class Occurrences:
    """Where the words of a vocabulary stand in one text; in Python code, not in its prose."""

    def __init__(self, text: bytes, vocabulary: Vocabulary, language: Language) -> None:
        self.text, self.language = text, language
        self._numbers = vocabulary.numbers
        self._hits = vocabulary.automaton.find_matches_as_indexes(text, overlapping=True)
        self._found: dict[Word, Sequence[int]] = {}
        self._first: dict[Word, bool] = {}

    @cached_property
    def present(self) -> set[int]:
        """The numbers of the words that occur anywhere, prose included."""
        return {hit[0] for hit in self._hits}

    @cached_property
    def _starts(self) -> dict[int, list[int]]:
        starts: defaultdict[int, list[int]] = defaultdict(list)
        for number, start, _ in self._hits:
            starts[number].append(start)
        return starts

    @cached_property
    def _prose(self) -> Prose | None:
        if self.language != "python":
            return None
        return Prose(self.text, sorted(at for word in QUOTES for at in self._places(word)))

    def of(self, word: Word) -> Sequence[int]:
        """Where a word, or a match of a pattern, begins, in order."""
        if (known := self._found.get(word)) is None:
            known = self._found[word] = list(self._sought(word))
        return known

    def has(self, word: Word) -> bool:
        """Whether a word, or a match of a pattern, begins anywhere: the first one ends the search."""
        if (known := self._found.get(word)) is not None:
            return bool(known)
        if (first := self._first.get(word)) is None:
            first = self._first[word] = any(True for _ in self._sought(word))
        return first

    def in_code(self, places: Iterable[int]) -> Iterable[int]:
        """The places that do not lie in prose."""
        return places if self._prose is None else self._prose.without(places)

    def _sought(self, word: Word) -> Iterable[int]:
        return self.in_code(self._places(word) if isinstance(word, bytes) else self._matches(word))

    def within(self, word: Word, start: int, end: int) -> bool:
        """Whether a word begins in a range of bytes."""
        starts = self.of(word)
        at = bisect_left(starts, start)
        return at < len(starts) and starts[at] < end

    def _places(self, word: bytes) -> Sequence[int]:
        return self._starts.get(self._numbers[word], ())

    def _matches(self, pattern: Rare) -> Iterator[int]:
        places = [at for word in pattern.words for at in self.of(word)]
        yield from pattern.starts(self.text, places)


def _plain(word: Word) -> tuple[bytes, ...]:
    return (word,) if isinstance(word, bytes) else word.words


def whole(text: bytes, word: bytes) -> Iterator[int]:
    """Where a name stands that is not a part of a longer one, in order."""
    size = len(word)
    at = text.find(word)
    while at >= 0:
        end = at + size
        if (at == 0 or text[at - 1] not in PART) and (end == len(text) or text[end] not in PART):
            yield at
        at = text.find(word, end)
