"""The first look at a text: which rules may fire on it, and whether it must be parsed at all."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING

from cudalint.records import NamedTuple
from cudalint.sieve import Passed, Sieve
from cudalint.suppress import names_us

if TYPE_CHECKING:
    from cudalint.model import Language
    from cudalint.occurrences import Holds
    from cudalint.registry import Rule
    from cudalint.settings import Settings


class _Chosen(NamedTuple):
    """The rules for a language, with the sieve of those that are not the engine's own."""

    rules: tuple[Rule, ...]
    sieve: Sieve


class Look:
    """One text, searched once for all that is asked of it before it is parsed."""

    def __init__(
        self, text: bytes, language: Language, rules: tuple[Rule, ...], settings: Settings
    ) -> None:
        self.rules, self.settings = rules, settings
        self._chosen = _chosen(rules, language)
        self.found = self._chosen.sieve.search(text, language)

    @property
    def holds(self) -> Holds:
        """Whether a word of `sieve.ALWAYS` occurs in the text."""
        return self.found.holds

    @cached_property
    def passed(self) -> Passed:
        """The rules whose words occur."""
        return self._chosen.sieve.passed(self.found, self.settings.hot_functions)

    @property
    def must_be_parsed(self) -> bool:
        """Whether a rule may fire, a suppression names one, or a string holds CUDA."""
        text, language = self.found.text, self.found.language
        return bool(
            self.passed.rules
            or suppresses(text, language, self._chosen.rules, self.settings, self.holds)
            or (language == "python" and for_strings(text, self.rules, self.holds))
        )


@cache
def _chosen(rules: tuple[Rule, ...], language: Language) -> _Chosen:
    fitting = tuple(rule for rule in rules if language in rule.languages)
    return _Chosen(fitting, Sieve(rule for rule in fitting if not rule.by_engine))


def suppresses(
    text: bytes, language: Language, rules: tuple[Rule, ...], settings: Settings, holds: Holds
) -> bool:
    """Whether a suppression may name a rule of ours, and somebody asks."""
    if settings.ignore_noqa or not any(rule.by_engine for rule in rules):
        return False
    return names_us(text, language, holds)


def for_strings(text: bytes, rules: tuple[Rule, ...], holds: Holds) -> tuple[Rule, ...]:
    """The CUDA rules that may fire on sources in the strings of a Python file."""
    if not holds(b"__global__"):
        return ()
    sieve = Sieve(r for r in rules if "cuda" in r.languages and r.family == "cuda")
    return sieve.passed(sieve.search(text, "cuda")).rules
