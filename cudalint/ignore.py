"""`.gitignore` files with git's meaning: `pathspec` reads the patterns, this file knows which hold.

A walk decides about a folder before it sees what is inside, so that a pattern counts only where it
matches a path itself, never for a folder above: patterns and paths get the same mark at their end.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_END = "\0"  # in no file's name
# Classes that pathspec does not know yet.
_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": "\t ",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": "\t-\r ",
    "xdigit": "0-9a-fA-F",
    "punct": ":-@[-`{-~!-.",
}


class _Rule(NamedTuple):
    """A line of an ignore file; the last rule that matches decides."""

    number: int
    ignores: bool
    folders_only: bool
    by_path: bool
    expression: re.Pattern[str]


class IgnoreFile:
    """One ignore file; paths are judged relative to its folder."""

    def __init__(self, folder: str, lines: str) -> None:
        self.offset = len(folder.rstrip("/")) + 1
        self.rules: dict[str, list[_Rule]] = {}  # by what a name must be or end in
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `re` on brackets such as `[[a]`
            for key, rule in _rules(lines):
                self.rules.setdefault(key, []).append(rule)

    def verdict(self, path: str, name: str, is_folder: bool) -> bool | None:
        """Whether the file says to ignore a path, to keep it, or nothing."""
        path, marked = path[self.offset :] + _END, name + _END
        hits = [
            (number, ignores)
            for key in (name, "." + name.rpartition(".")[2], "")
            for number, ignores, folders_only, by_path, expression in self.rules.get(key, ())
            if (is_folder or not folders_only) and expression.search(path if by_path else marked)
        ]
        return max(hits)[1] if hits else None


def _rules(lines: str) -> Iterator[tuple[str, _Rule]]:
    """The rules of an ignore file, each with its key."""
    for number, line in enumerate(re.split(r"\r?\n", lines)):
        line = re.sub(r"(?<!\\)((?:\\\\)*) +$", r"\1", line)
        glob = re.sub(r"\*{3,}", "**", line.removesuffix("/"))
        glob = re.sub(r"\[:(\w+):\]", lambda found: _POSIX.get(found[1], ""), glob)
        if glob and not glob.startswith("#") and (expression := _expression(glob)):
            ignores = not glob.startswith("!")
            rule = _Rule(number, ignores, line.endswith("/"), "/" in glob, expression)
            yield _key(glob.removeprefix("!")), rule


def _expression(glob: str) -> re.Pattern[str] | None:
    """What pathspec makes of a glob and the mark after it; None where it can match nothing.

    One spelling stays different from git's: `a**/b`, where git does not follow its own manual.
    """
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    if re.search(r"(?<!\\)(?:\\\\)*\\$", glob):  # it would escape the mark
        return None
    try:
        return GitIgnoreSpecPattern(glob if glob.endswith("/**") else glob + _END).regex
    except (ValueError, re.error):
        return None


def _key(glob: str) -> str:
    """What a name must be, or else the suffix that it must have; empty where that is open."""
    tail = re.split(r"[]/*?\[\\]", glob)[-1]
    if f"/{glob}".endswith(f"/{tail}"):
        return tail
    return "." + tail.rpartition(".")[2] if "." in tail else ""


def read(path: str, folder: str) -> IgnoreFile | None:
    """The ignore file at a path, for the paths under a folder; None where there is none."""
    try:
        with open(path, "rb") as file:
            return IgnoreFile(folder, file.read().decode("utf-8-sig", "surrogateescape"))
    except OSError:
        return None


class Ignores:
    """The ignore files that hold in a folder, the weakest first."""

    def __init__(self, files: Iterable[IgnoreFile | None]) -> None:
        self.files = [file for file in files if file is not None]

    def within(self, folder: str) -> Ignores:
        """What holds in a folder that has a `.gitignore` of its own."""
        return Ignores([*self.files, read(os.path.join(folder, ".gitignore"), folder)])

    def ignored(self, path: str, name: str, is_folder: bool) -> bool:
        """Whether a path is ignored: the innermost file with something to say decides."""
        for file in reversed(self.files):
            if (verdict := file.verdict(path, name, is_folder)) is not None:
                return verdict
        return False


def above(folder: str) -> Ignores:
    """The ignore files that hold for a folder from outside it."""
    top = repository(folder) or _outermost(folder)
    files = [read(os.path.join(_user_folder(), "ignore"), top)]
    files.append(read(os.path.join(top, ".git", "info", "exclude"), top))
    between: list[str] = []
    while folder != top:
        folder = os.path.dirname(folder)
        between.append(folder)
    files += [read(os.path.join(each, ".gitignore"), each) for each in reversed(between)]
    return Ignores(files)


def repository(folder: str) -> str | None:
    """The top folder of the git repository that a folder is in."""
    while not os.path.exists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder


def _outermost(folder: str) -> str:
    """Without a repository, ignore files count from the current folder down."""
    current = os.getcwd()
    return current if folder == current or folder.startswith(current.rstrip("/") + "/") else folder


def _user_folder() -> str:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "git")
