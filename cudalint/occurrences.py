"""Where many words occur in a text: all of them found in one pass (Aho and Corasick, 1975)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ahocorasick_rs import BytesAhoCorasick, Implementation

from cudalint.prose import Prose
from cudalint.rare import Leading, Rare

if TYPE_CHECKING:
    from cudalint.model import Language

Word = bytes | Rare
Holds = Callable[[bytes], bool]  # whether a text holds a word: `text.__contains__`, or quicker

PART = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789")
# Words that most files hold, and many times: they are two thirds of what is found in torch's sources
# and tell nothing of a file. They are sought one by one, where all others have been found.
FREQUENT = frozenset(
    [
        *(b"torch", b"for ", b"device", b"self.", b"sin", b"var", b"*", b"**", b"@"),
        *(b"q", b"Q", b"k", b"K", b"v", b"V"),
    ]
)


class Vocabulary:
    """Words and the words of patterns, ready to be sought together."""

    def __init__(self, words: Iterable[Word]) -> None:
        found = sorted({plain for word in words for plain in _plain(word)} - FREQUENT)
        self.numbers = {word: number for number, word in enumerate(found)}
        self._groups: dict[tuple[Word, ...], frozenset[int] | None] = {}
        self.automaton = BytesAhoCorasick(found, implementation=Implementation.DFA)

    def numbers_of(self, group: tuple[Word, ...]) -> frozenset[int] | None:
        """The numbers of the words one of which a text must hold for a group to occur in it.

        None where one of them is not sought: it is frequent, or a pattern has no words.
        """
        if group not in self._groups:
            costly = any(map(is_costly, group))
            plain = (plain for word in group for plain in _plain(word))
            self._groups[group] = None if costly else frozenset(self.numbers[p] for p in plain)
        return self._groups[group]


class Occurrences:
    """Where the words of a vocabulary stand in one text; in Python code, not in its prose."""

    def __init__(self, text: bytes, vocabulary: Vocabulary, language: Language) -> None:
        self.text, self.language = text, language
        self._vocabulary, self._numbers = vocabulary, vocabulary.numbers
        self._hits = vocabulary.automaton.find_matches_as_indexes(text, overlapping=True)
        self._found: dict[Word, Sequence[int]] = {}
        self._first: dict[Word, bool] = {}

    @cached_property
    def present(self) -> set[int]:
        """The numbers of the words that occur anywhere, prose included."""
        return {hit[0] for hit in self._hits}

    def holds(self, word: bytes) -> bool:
        """Whether a word of the vocabulary occurs anywhere, prose included."""
        return self._numbers[word] in self.present

    def may_hold(self, group: tuple[Word, ...]) -> bool:
        """Whether a group may occur: no look at prose or rows."""
        numbers = self._vocabulary.numbers_of(group)
        return numbers is None or not self.present.isdisjoint(numbers)

    @cached_property
    def _starts(self) -> dict[int, list[int]]:
        starts: defaultdict[int, list[int]] = defaultdict(list)
        for number, start, _ in self._hits:
            starts[number].append(start)
        return starts

    @cached_property
    def _prose(self) -> Prose | None:
        return Prose(self.text) if self.language == "python" else None

    def of(self, word: Word) -> Sequence[int]:
        """Where a word, or a match of a pattern, begins, in order."""
        if (known := self._found.get(word)) is None:
            known = self._found[word] = list(self._sought(word, 0, len(self.text)))
        return known

    def has(self, word: Word) -> bool:
        """Whether a word, or a match of a pattern, begins anywhere: the first one ends the search."""
        if (known := self._found.get(word)) is not None:
            return bool(known)
        if (first := self._first.get(word)) is None:
            first = any(True for _ in self._sought(word, 0, len(self.text)))
            self._first[word] = first
        return first

    def in_code(self, places: Iterable[int]) -> Iterable[int]:
        """The places that do not lie in prose."""
        return places if self._prose is None else self._prose.without(places)

    def within(self, word: Word, start: int, end: int) -> bool:
        """Whether a word begins in a range of bytes, the whole of some rows."""
        if word in self._found or word in self._numbers:
            starts = self.of(word)
            at = bisect_left(starts, start)
            return at < len(starts) and starts[at] < end
        return any(True for _ in self._sought(word, start, end))

    def _sought(self, word: Word, start: int, end: int) -> Iterable[int]:
        places = self._places(word, start, end)
        return self.in_code(places) if places else ()

    def _places(self, word: Word, start: int, end: int) -> Iterable[int]:
        if isinstance(word, Leading):
            return word.rows(self.text, start, end)
        if isinstance(word, Rare):
            places = [at for plain in word.words for at in self._sought(plain, start, end)]
            return word.starts(self.text, places) if places else ()
        if (number := self._numbers.get(word)) is None:
            return _each(self.text, word, start, end)
        starts = self._starts.get(number, [])
        return starts[bisect_left(starts, start) : bisect_left(starts, end)]


def is_costly(word: Word) -> bool:
    """Whether a word is sought on its own, which takes longer than a look at what was found."""
    return isinstance(word, Leading) or not FREQUENT.isdisjoint(_plain(word))


def _plain(word: Word) -> tuple[bytes, ...]:
    return (word,) if isinstance(word, bytes) else word.words


def _each(text: bytes, word: bytes, start: int, end: int) -> Iterator[int]:
    """Where a word stands in a range of bytes, in order."""
    at = text.find(word, start, end)
    while at >= 0:
        yield at
        at = text.find(word, at + 1, end)


def whole(text: bytes, word: bytes) -> Iterator[int]:
    """Where a name stands that is not a part of a longer one, in order."""
    size = len(word)
    at = text.find(word)
    while at >= 0:
        end = at + size
        if (at == 0 or text[at - 1] not in PART) and (end == len(text) or text[end] not in PART):
            yield at
        at = text.find(word, end)
