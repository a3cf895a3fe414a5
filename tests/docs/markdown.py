"""What tests read out of a document: its sections, its code spans, its fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$\n?", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the paragraph that stands before it."""

    language: str
    text: str
    before: str


class Section(NamedTuple):
    """A heading and the text under it, down to the next heading of its level or a higher one."""

    level: int
    title: str
    text: str

    @property
    def own(self) -> str:
        """The text before the first heading inside."""
        return _HEADING.split(self.text, maxsplit=1)[0]


def read(name: str) -> str:
    """The text of a document of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Every fenced block, outermost fences only."""
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        found.append(Block(match[2], match[3], before))
    return found


def prose(text: str) -> str:
    """The document without its fenced blocks."""
    return _FENCE.sub("", text)


def sections(text: str) -> list[Section]:
    """Every section of the prose, nested ones as well."""
    text = prose(text)
    found = []
    headings = list(_HEADING.finditer(text))
    for index, heading in enumerate(headings):
        level = len(heading[1])
        after = (h.start() for h in headings[index + 1 :] if len(h[1]) <= level)
        body = text[heading.end() : next(after, len(text))]
        found.append(Section(level, heading[2], body))
    return found


def spans(text: str) -> list[str]:
    """The code spans of a text, in order."""
    return _SPAN.findall(text)


def first_cells(text: str) -> Iterator[str]:
    """The first cell of every row of the text's tables, head rows left out."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for at, row in enumerate(rows):
        rules = [line.startswith("| ---") for line in rows[at : at + 2]]
        if not any(rules):
            yield row.split("|")[1].strip()
