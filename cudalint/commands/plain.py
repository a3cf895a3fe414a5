"""Command lines without a mistake, read without click, whose import takes longer than a small file.

Whatever is not plain (a mistake, help, several letters behind one dash, an option set by the
environment) is left to click, which reads the same table and has the words for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from cudalint.commands.flags import OPTIONS, Flag

_NAMED = {name: flag for flag in OPTIONS for name in flag.names}
_REFUSED = {flag.refusal: flag for flag in OPTIONS if flag.twin}
# Set, they are click's: its own completion among them.
_VARIABLES = ("_CUDALINT_COMPLETE", *(flag.variable for flag in OPTIONS if flag.variable))


class _NotPlain(Exception):
    """A word that only click can read, or explain."""


def plain(words: Sequence[str]) -> dict[str, Any] | None:
    """What `check` or `fix` is asked for, as click would read it; None: let click read it."""
    if os.name == "nt" or any(name in os.environ for name in _VARIABLES):
        return None  # on Windows click expands patterns as well
    options = {flag.key: flag.unset for flag in OPTIONS}
    paths: list[str] = []
    rest = iter(words)
    try:
        for word in rest:
            if word == "-" or not word.startswith("-"):
                paths.append(word)
            else:
                _put(word, rest, options)
    except _NotPlain:
        return None
    return {**options, "paths": tuple(paths)}


def _put(word: str, rest: Iterator[str], options: dict[str, Any]) -> None:
    if (refused := _REFUSED.get(word)) is not None:
        options[refused.key] = False
        return
    name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    flag = _NAMED.get(name)
    if flag is None:
        raise _NotPlain
    if flag.switch or flag.twin:
        if equals:
            raise _NotPlain
        options[flag.key] = True
        return
    taken = _valid(flag, value if equals else next(rest, ""))
    options[flag.key] = (*options[flag.key], taken) if flag.multiple else taken


def _valid(flag: Flag, value: str) -> str | int:
    if not value or value.startswith("-") or (flag.choices and value not in flag.choices):
        raise _NotPlain
    if flag.least is None:
        return value
    if not (value.isascii() and value.isdigit() and int(value) >= flag.least):
        raise _NotPlain
    return int(value)
