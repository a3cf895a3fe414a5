"""Regular expressions that are compiled when first used: most runs need few of the many."""

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


def lazy_compile(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """`re.compile`, put off: those of all checks and fixes take 49 ms, and a file needs few."""
    return cast("re.Pattern[AnyStr]", _Pattern((pattern, flags)))
