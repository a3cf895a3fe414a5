"""Suppressions: which findings a comment hides, which comments hide nothing, and their fixes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.logical import covered_rows, next_rows
from cudalint.model import Span
from cudalint.records import NamedTuple, field, record
from cudalint.registry import by_code, by_name, find

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts import Facts
    from cudalint.model import Language
    from cudalint.occurrences import Holds
    from cudalint.registry import Rule

# One directive; a comment may hold several.
_WORDS = (b"noqa", b"nolint", b"cudalint:")  # of every directive, in whatever case
_PYTHON = lazy_compile(
    rb"#[ \t]*(?:(?P<noqa>noqa)\b(?P<noqa_colon>[ \t]*:)?"
    rb"|cudalint:[ \t]*(?P<ours>ignore|file-ignore)\b(?P<open>\[)?)",
    re.IGNORECASE,
)
_CUDA = lazy_compile(
    rb"(?P<lint>NOLINTNEXTLINE|NOLINTBEGIN|NOLINTEND|NOLINT)\b(?P<paren>\()?"
    rb"|cudalint:[ \t]*(?P<ours>ignore|file-ignore)\b(?P<open>\[)?"
)
_LIST = lazy_compile(rb"[A-Z]*[ \t]*[:(](?=.*(?:[Cc][Uu]|-))")  # what may follow noqa or NOLINT
_WORD = lazy_compile(rb"[ \t,]*([A-Za-z][\w.*-]*)")
_CODE = lazy_compile(rb"[A-Za-z]{1,5}[0-9]{1,5}\Z")  # a code of any tool
_PREFIX = lazy_compile(rb"[Cc][Uu](?:[A-Za-z][0-9]{0,3})?\Z")  # one of ours, or a prefix of them


class Listed(NamedTuple):
    """A code, prefix or name as a comment spells it, and the rules it stands for."""

    text: str
    span: Span
    rules: tuple[Rule, ...]

    @property
    def ours(self) -> bool:
        """Whether it means us: another tool's codes are none of our business."""
        return self.text[:2].upper() == "CU" or bool(self.rules) or self.text.lower() in by_name()


@record(eq=False)
class Suppression:
    """One directive: the rows it covers (None: the whole file) and what it lists (None: all)."""

    form: str
    comment: Span
    span: Span
    rows: range | None
    listed: tuple[Listed, ...] | None
    used: set[str] = field(default_factory=set)

    def hides(self, rule: Rule, row: int) -> bool:
        """Whether a finding of `rule` that starts in `row` is hidden, noting what was of use."""
        if self.rows is not None and row not in self.rows:
            return False
        if self.listed is None:
            return True
        hits = [entry.text for entry in self.listed if rule in entry.rules]
        self.used.update(hits)
        return bool(hits)


def names_us(text: bytes, language: Language, holds: Holds) -> bool:
    """Whether a directive may name one of our rules, so that the file must be parsed for it."""
    if holds(b"cudalint:"):
        return True
    words = (b"NOLINT",) if language == "cuda" else (b"noqa", b"NOQA", b"NoQA")
    return any(_names_us_after(text, word) for word in words if holds(word))


def _names_us_after(text: bytes, word: bytes) -> bool:
    at = text.find(word)
    while at >= 0:
        end = text.find(b"\n", at)
        rest = text[at + len(word) : end if end >= 0 else len(text)]
        start = _LIST.match(rest)
        if start is not None and any(e.ours for e in _listed(rest, start.end(), loose=True)):
            return True
        at = text.find(word, at + len(word))
    return False


def holds_none(text: bytes) -> bool:
    """Whether no word of a directive occurs in a text."""
    lowered = text.lower()
    return not any(word in lowered for word in _WORDS)


def suppressions(facts: Facts) -> list[Suppression]:
    """Every directive in the comments of a file, in source order."""
    if holds_none(facts.text):
        return []
    found = []
    pattern = _CUDA if facts.source.language == "cuda" else _PYTHON
    blocks: list[tuple[Suppression, int]] = []
    for match in pattern.finditer(facts.text):
        comment = facts.root.descendant_for_byte_range(match.start(), match.end())
        if comment is None or comment.type != "comment":
            continue
        made = _directive(facts, match, comment)
        if made.form == "NOLINTBEGIN":
            blocks.append((made, facts.source.row(match.start())))
        elif made.form == "NOLINTEND":
            if blocks:
                opened, row = blocks.pop()
                opened.rows = range(row, facts.source.row(match.start()) + 1)
            continue
        found.append(made)
    return found


def _directive(facts: Facts, match: re.Match[bytes], comment: Node) -> Suppression:
    text, end = facts.text, match.end()
    span = Span(comment.start_byte, comment.end_byte)
    groups = match.groupdict()
    if groups.get("ours"):
        form = groups["ours"].decode().lower()
        bracketed = groups["open"] is not None
    elif groups.get("lint"):
        form, bracketed = groups["lint"].decode(), groups["paren"] is not None
    else:
        form, bracketed = "noqa", groups["noqa_colon"] is not None
    entries = tuple(_listed(text, end, loose=form == "noqa")) if bracketed else None
    stop = entries[-1].span.end if entries else end
    if bracketed and form != "noqa" and text[stop : stop + 1] in (b")", b"]"):
        stop += 1
    rows = _rows(facts, form, comment)
    return Suppression(form, span, Span(match.start(), stop), rows, entries)


def _rows(facts: Facts, form: str, comment: Node) -> range | None:
    row = facts.source.row(comment.start_byte)
    if form in ("file-ignore", "NOLINTBEGIN"):
        return None
    if form == "NOLINTNEXTLINE":
        return range(row + 1, row + 2)
    line = facts.text[facts.source.line_starts[row] : comment.start_byte]
    if line.strip():
        return covered_rows(facts, row)
    return next_rows(facts, comment)


def _listed(text: bytes, start: int, loose: bool) -> Iterator[Listed]:
    """What a directive lists. A loose list (noqa) ends at the first word that is no code."""
    at = start
    while (match := _WORD.match(text, at)) is not None:
        word = match.group(1)
        rules = find(word.decode("utf-8", "replace")) if word.upper() != b"ALL" else ()
        if loose and not (rules or _CODE.match(word) or _PREFIX.match(word)):
            return
        yield Listed(word.decode("utf-8", "replace"), Span(match.start(1), match.end(1)), rules)
        at = match.end()


class Problem(NamedTuple):
    """A suppression that is of no use: the listed entry, and what may stand in its place."""

    rule: str
    suppression: Suppression
    entry: Listed
    message: str
    replacement: str | None = None


def problems(found: Iterable[Suppression], selected: Iterable[Rule]) -> Iterator[Problem]:
    """Unused entries (CUE002) and unknown ones (CUE003), for rules that were selected."""
    codes = {rule.code for rule in selected}
    for suppression in found:
        for entry in suppression.listed or ():
            if not entry.rules:
                strict = suppression.form not in ("noqa", *_LINT)
                if entry.text[:2].upper() == "CU" or (strict and "-" in entry.text):
                    yield _unknown(suppression, entry)
            elif entry.text not in suppression.used and codes.intersection(
                rule.code for rule in entry.rules if not rule.by_engine
            ):
                message = f"Unused suppression: `{entry.text}` hides nothing here"
                yield Problem("CUE002", suppression, entry, message)


_LINT = ("NOLINT", "NOLINTNEXTLINE", "NOLINTBEGIN", "NOLINTEND")


def _unknown(suppression: Suppression, entry: Listed) -> Problem:
    close = [known for known in (*by_code(), *by_name()) if _one_edit_apart(entry.text, known)]
    message = f"Unknown rule `{entry.text}` in a suppression"
    if len(close) != 1:
        return Problem("CUE003", suppression, entry, message)
    return Problem("CUE003", suppression, entry, f"{message}; did you mean `{close[0]}`?", close[0])


def _one_edit_apart(given: str, known: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of neighbours makes them equal."""
    a, b = given.lower(), known.lower()
    if abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    x, y = a[start:], b[start:]
    swapped = len(x) > 1 and x[1] + x[0] + x[2:] == y
    return x[1:] == y[1:] or x[1:] == y or x == y[1:] or swapped


def without(text: bytes, suppression: Suppression, entries: Iterable[Listed]) -> tuple[Span, bytes]:
    """The edit that takes entries out of a directive: other tools' codes and the reason stay."""
    gone = {entry.span for entry in entries}
    kept = [entry for entry in suppression.listed or () if entry.span not in gone]
    if kept:
        return _relisted(text, suppression, kept)
    comment = text[suppression.comment.start : suppression.comment.end]
    before = text[suppression.comment.start : suppression.span.start].strip(b"#/* \t")
    after = text[suppression.span.end : suppression.comment.end]
    reason = after.strip(b" \t:,-*/").removesuffix(b"*/")
    start = text.rfind(b"\n", 0, suppression.comment.start) + 1
    if not before and not reason:
        return _whole_comment(text, suppression.comment, start)
    if before:
        cut = len(text[: suppression.span.start].rstrip(b" \t"))
        return Span(cut, suppression.span.end), b""
    lead = comment[:2] if comment[:1] == b"/" else b"#"
    tail = after.lstrip(b" \t:,-")
    return Span(suppression.comment.start, suppression.comment.end), lead + b" " + tail


def _relisted(text: bytes, suppression: Suppression, kept: list[Listed]) -> tuple[Span, bytes]:
    listed = suppression.listed or ()
    span = Span(listed[0].span.start, listed[-1].span.end)
    return span, b", ".join(text[entry.span.start : entry.span.end] for entry in kept)


def _whole_comment(text: bytes, comment: Span, line: int) -> tuple[Span, bytes]:
    if text[line : comment.start].strip():
        return Span(len(text[: comment.start].rstrip(b" \t")), comment.end), b""
    end = comment.end
    for newline in (b"\r\n", b"\n", b"\r"):
        if text.startswith(newline, end):
            return Span(line, end + len(newline)), b""
    return Span(line, end), b""
