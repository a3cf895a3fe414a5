"""Which rules may fire, read off the bytes: most files are done here and never parsed.

Words are necessary, never sufficient. The first pass looks at the whole file; the second asks, for
rules whose words must meet in one place, whether any one top-level definition holds them all, and
for rules about hot code whether hot code reaches it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.definitions import Part, definitions, outside
from cudalint.occurrences import Occurrences, Vocabulary, Word, is_costly
from cudalint.package import WORDS
from cudalint.rare import Rare
from cudalint.reach import Reach
from cudalint.records import NamedTuple
from cudalint.registry import HOT

if TYPE_CHECKING:
    from cudalint.model import Language
    from cudalint.registry import Rule

Group = tuple[Word, ...]
# Words that are asked of every text, whatever the rules: they say what its package does, whether it
# holds CUDA in a string, and whether a comment may name a rule.
ALWAYS = (
    *(*WORDS, b"__global__"),
    *(b"cudalint:", b"noqa", b"NOQA", b"NoQA", b"NOLINT"),
)


class _Asked(NamedTuple):
    """What a rule asks of a text, what costs least first.

    `numbers`: of each set the text must hold one word, by their numbers.
    """

    rule: Rule
    numbers: tuple[frozenset[int], ...]
    words: tuple[Group, ...]
    within: tuple[Group, ...]


class Passed(NamedTuple):
    """The rules that a text passed the sieve with.

    `hot`: where its code may run every step, as `Reach.ranges` says; None where no rule asked.
    """

    rules: tuple[Rule, ...]
    hot: tuple[int, ...] | None = None


class Sieve:
    """Some rules, ready to be asked of many texts."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        groups = [group for rule in self.rules for group in (*rule.words, *rule.within)]
        if any(rule.hot for rule in self.rules):
            groups += HOT
        self._vocabulary = Vocabulary((*ALWAYS, *(word for group in groups for word in group)))

    def search(self, text: bytes, language: Language) -> Occurrences:
        """Where the words of all rules stand in a text."""
        return Occurrences(text, self._vocabulary, language)

    def passed(self, found: Occurrences, hot_functions: Iterable[str] = ()) -> Passed:
        """The rules whose trigger words occur in a text that was searched.

        `hot_functions` run every step. In Python words in comments and in strings in triple quotes
        do not count.
        """
        misses = found.present.isdisjoint
        may = [asked for asked in self._asked if not any(map(misses, asked.numbers))]
        return _Text(found, hot_functions).of(may) if may else Passed(())

    @cached_property
    def _asked(self) -> list[_Asked]:
        made = []
        for rule in self.rules:
            sets = map(self._vocabulary.numbers_of, (*rule.words, *rule.within))
            numbers = tuple(each for each in sets if each is not None)
            words, within = map(_cheapest_first, (rule.words, rule.within))
            made.append(_Asked(rule, numbers, words, within))
        return made


def survivors(
    text: bytes,
    rules: Iterable[Rule],
    hot_functions: Iterable[str] = (),
    language: Language = "python",
) -> tuple[Rule, ...]:
    """The rules whose trigger words occur in one text."""
    sieve = Sieve(rules)
    return sieve.passed(sieve.search(text, language), hot_functions).rules


def _cheapest_first(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """Groups, and the words of each, in the order in which they are best asked."""
    ordered = [tuple(sorted(group, key=_cost)) for group in groups]
    return tuple(sorted(ordered, key=lambda group: max(map(_cost, group))))


def _cost(word: Word) -> int:
    return 2 * is_costly(word) + isinstance(word, Rare)


class _Text:
    """One text, and what is asked of it more than once."""

    def __init__(self, found: Occurrences, hot_functions: Iterable[str]) -> None:
        self.text, self.found, self.hot_functions = found.text, found, hot_functions
        self._behind: dict[int, int] = {}

    def of(self, asked: Iterable[_Asked]) -> Passed:
        rules = tuple(each.rule for each in asked if self._passes(each))
        return Passed(rules, self._reach.ranges if any(rule.hot for rule in rules) else None)

    def _passes(self, asked: _Asked) -> bool:
        if asked.rule.hot and not self._reach.any:
            return False
        if not all(any(map(self.found.has, group)) for group in asked.words):
            return False
        return self._meet(asked.within) and self._runs(asked.rule)

    def _meet(self, within: tuple[Group, ...]) -> bool:
        """Whether the words that must are in one definition, or in the code between definitions."""
        if len(within) < 2:
            return all(any(map(self.found.has, group)) for group in within)
        first, *others = within
        last: dict[int, int] = {}  # where each part holds the first group for the last time
        for at in sorted(at for word in first for at in self.found.of(word)):
            last[bisect_right(self._starts, at) - 1] = at
        if any(all(self._holds(group, self._parts[n]) for group in others) for n in last):
            return True
        if not any(at >= self._outside(number) for number, at in last.items()):
            return False
        return all(
            any(self._in_range(group, *each) for each in self._between()) for group in others
        )

    def _holds(self, group: Group, part: Part) -> bool:
        return self._in_range(group, part.start, part.end)

    def _in_range(self, group: Group, start: int, end: int) -> bool:
        return any(self.found.within(word, start, end) for word in group)

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

    def _between(self) -> Iterator[tuple[int, int]]:
        """The code between definitions."""
        return ((self._outside(n), part.end) for n, part in enumerate(self._parts))

    def _outside(self, number: int) -> int:
        """Where the code after a part's definition begins."""
        if (known := self._behind.get(number)) is None:
            known = self._behind[number] = outside(self.text, self._parts[number])
        return known
