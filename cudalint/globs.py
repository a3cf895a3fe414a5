"""Glob patterns of the configuration, with ruff's meaning: `*` crosses folders, `{a,b}` chooses."""

from __future__ import annotations

import os
import re
from functools import cache

from cudalint.records import NamedTuple


class Pattern(NamedTuple):
    """A pattern as it was written and the folder that it is relative to."""

    text: str
    root: str


def translate(glob: str) -> str:
    """The regular expression of a glob, to be matched against a whole path or name."""
    parts: list[str] = []
    at, depth = 0, 0
    while at < len(glob):
        piece, at, depth = _token(glob, at, depth)
        parts.append(piece)
    return "".join(parts) + ")" * depth


def _token(glob: str, at: int, depth: int) -> tuple[str, int, int]:
    """One step of the translation: expression, next offset, open braces."""
    char = glob[at]
    if char == "*":
        return _stars(glob, at, depth)
    if char == "[" and (group := re.compile(r"\[[!^]?\]?[^\]]*\]").match(glob, at)):
        inner = group.group()[1:-1].replace("\\", r"\\").replace("[", r"\[")
        return "[" + re.sub(r"^[!^]", "^", inner) + "]", group.end(), depth
    if char == "{":
        return "(?:", at + 1, depth + 1
    if depth and char in ",}":
        return ("|", at + 1, depth) if char == "," else (")", at + 1, depth - 1)
    if char == "\\" and at + 1 < len(glob):
        return re.escape(glob[at + 1]), at + 2, depth
    return ("." if char == "?" else re.escape(char)), at + 1, depth


def _stars(glob: str, at: int, depth: int) -> tuple[str, int, int]:
    """`**/` also stands for no folder at all; every other star is any run of characters."""
    end = at
    while end < len(glob) and glob[end] == "*":
        end += 1
    starts_part = at == 0 or glob[at - 1] == "/"
    if end - at == 2 and starts_part and glob[end : end + 1] == "/":
        return "(?:.*/)?", end + 1, depth
    return ".*", end, depth


def anchored(pattern: Pattern) -> str:
    """The expression of a pattern as an absolute path; the folder's own characters are literal."""
    text = pattern.text.rstrip("/")
    text = os.path.expanduser(text)
    if os.path.isabs(text):
        return translate(text)
    while text.startswith("./"):
        text = text[2:]
    root = pattern.root
    while text.startswith("../"):
        root, text = os.path.dirname(root), text[3:]
    return re.escape(root.rstrip("/") + "/") + translate(text)


class Matcher:
    """Whether a path is among patterns: by its name where a pattern has no slash, or by its path."""

    def __init__(self, patterns: tuple[Pattern, ...]) -> None:
        plain = [p.text for p in patterns if "/" not in p.text]
        self.names = frozenset(text for text in plain if not _is_glob(text))
        self.by_name = _any([translate(text) for text in plain if _is_glob(text)])
        self.by_path = _any([anchored(p) for p in patterns if "/" in p.text])

    def __call__(self, path: str, name: str) -> bool:
        return (
            name in self.names
            or (self.by_name is not None and self.by_name.fullmatch(name) is not None)
            or (self.by_path is not None and self.by_path.fullmatch(path) is not None)
        )


def _is_glob(text: str) -> bool:
    return any(char in text for char in "*?[{")


def _any(expressions: list[str]) -> re.Pattern[str] | None:
    if not expressions:
        return None
    return re.compile("|".join(f"(?:{e})" for e in expressions), re.DOTALL)


@cache
def matcher(patterns: tuple[Pattern, ...]) -> Matcher:
    return Matcher(patterns)
