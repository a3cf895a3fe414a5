"""Regular expressions that are compiled when first needed: most runs need few of the many."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast

_METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split", "pattern")


class _Pattern:
    """What stands for a pattern until one of its methods is asked for; then it holds them all."""

    __slots__ = ("_source", *_METHODS)

    def __init__(self, source: tuple[Any, int]) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(*self._source)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


class Worded:
    """A pattern whose every match in a short text holds one of some words; else it is not asked."""

    __slots__ = ("_pattern", "_words")

    def __init__(self, words: tuple[str, ...], pattern: str) -> None:
        self._words, self._pattern = words, lazy_compile(pattern)

    def search(self, text: str) -> re.Match[str] | None:
        """The first match of the pattern."""
        for word in self._words:
            if word in text:
                return self._pattern.search(text)
        return None


def lazy_compile(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """`re.compile`, put off: those of all checks and fixes take 49 ms, and a file needs few."""
    return cast("re.Pattern[AnyStr]", _Pattern((pattern, flags)))
