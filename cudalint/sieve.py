"""Which rules may fire, read off the bytes: most files are done here and never parsed.

Words are necessary, never sufficient. The first pass looks at the whole file; the second asks, for
rules whose words must meet in one place, whether any one top-level definition holds them all, and
for rules about hot code whether hot code reaches it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING

from cudalint.definitions import Part, definitions, outside
from cudalint.occurrences import Occurrences, Vocabulary, Word
from cudalint.rare import Leading
from cudalint.reach import Reach
from cudalint.registry import HOT

if TYPE_CHECKING:
    from cudalint.model import Language
    from cudalint.registry import Rule

Group = tuple[Word, ...]


def survivors(
    text: bytes,
    rules: Iterable[Rule],
    hot_functions: Iterable[str] = (),
    language: Language = "python",
) -> tuple[Rule, ...]:
    """The rules whose trigger words occur in `text`.

    `hot_functions` run every step. In Python words in comments and in strings in triple quotes do
    not count.
    """
    given = tuple(rules)
    found = Occurrences(text, _vocabulary(given), language)
    may = tuple(
        rule
        for rule, needed in zip(given, _needed(given), strict=True)
        if not any(map(found.present.isdisjoint, needed))
    )
    return _Sieve(text, found, hot_functions).of(may) if may else ()


@cache
def _vocabulary(rules: tuple[Rule, ...]) -> Vocabulary:
    groups = [group for rule in rules for group in (*rule.words, *rule.within)]
    return Vocabulary(word for group in (*groups, *HOT) for word in group)


@cache
def _needed(rules: tuple[Rule, ...]) -> list[list[frozenset[int]]]:
    """For each rule the words, by number, one of each set of which a text must hold."""
    vocabulary = _vocabulary(rules)
    made = []
    for rule in rules:
        sets = map(vocabulary.numbers_of, (*rule.words, *rule.within))
        made.append([numbers for numbers in sets if numbers is not None])
    return made


def _looks_at_rows(group: Group) -> bool:
    """Whether a group holds a pattern without words, which takes longer: it is asked last."""
    return any(isinstance(word, Leading) for word in group)


class _Sieve:
    """One text, and what is asked of it more than once."""

    def __init__(self, text: bytes, found: Occurrences, hot_functions: Iterable[str]) -> None:
        self.text, self.found, self.hot_functions = text, found, hot_functions
        self._holding: dict[Word, set[int]] = {}

    def of(self, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(r for r in rules if self._occur(r) and self._meet(r) and self._runs(r))

    def _occur(self, rule: Rule) -> bool:
        groups = sorted((*rule.words, *rule.within), key=_looks_at_rows)
        return all(any(map(self.found.has, group)) for group in groups)

    def _meet(self, rule: Rule) -> bool:
        """Whether the words that must are in one definition, or in the code between definitions."""
        if len(rule.within) < 2:
            return True
        groups = sorted(rule.within, key=_looks_at_rows)
        parts = self._parts_with(groups[0])
        for group in groups[1:]:
            parts = parts and parts & self._parts_with(group)
        return bool(parts) or all(any(map(self._stands_between, group)) for group in groups)

    def _runs(self, rule: Rule) -> bool:
        """Whether what a rule about hot code looks for may run every step."""
        if not rule.hot:
            return True
        if not rule.within:
            return self._reach.any
        return all(
            any(self._reach.runs(at) for word in group for at in self.found.of(word))
            for group in rule.within
        )

    @cached_property
    def _reach(self) -> Reach:
        return Reach(self.found, self.hot_functions)

    @cached_property
    def _parts(self) -> list[Part]:
        return definitions(self.text)

    @cached_property
    def _starts(self) -> list[int]:
        return [part.start for part in self._parts]

    @cached_property
    def _between(self) -> list[tuple[int, int]]:
        """The code between definitions."""
        return [(outside(self.text, part), part.end) for part in self._parts]

    def _stands_between(self, word: Word) -> bool:
        return any(self.found.within(word, *each) for each in self._between)

    def _parts_with(self, group: Group) -> set[int]:
        """The numbers of the parts that hold a word of a group, counted from 1."""
        return set().union(*map(self._parts_holding, group))

    def _parts_holding(self, word: Word) -> set[int]:
        if (known := self._holding.get(word)) is None:
            known = self._holding[word] = self._numbers(self.found.of(word))
        return known

    def _numbers(self, places: Iterable[int]) -> set[int]:
        """The numbers of the parts that some places, in order, lie in."""
        numbers, ends, last = set(), (*self._starts[1:], len(self.text)), -1
        for at in places:
            if at >= last:
                number = bisect_right(self._starts, at)
                numbers.add(number)
                last = ends[number - 1]
        return numbers
