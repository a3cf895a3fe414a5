"""The values that are handed from step to step; all spans are byte offsets into `Source.text`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from cudalint.records import NamedTuple, field, record

if TYPE_CHECKING:
    from cudalint.facts import Facts

Language = Literal["python", "cuda"]
Severity = Literal["hint", "warning", "error"]
Safety = Literal["safe", "unsafe", "displayonly"]


class Span(NamedTuple):
    """A half-open range of byte offsets."""

    start: int
    end: int


class Position(NamedTuple):
    """A place as people count it: row and column from 1, the column in characters."""

    row: int
    column: int


@record(frozen=True)
class Source:
    """One file as it was read.

    `text` is UTF-8 without a byte-order mark, newlines as they are in the file. Where the declared
    encoding could not decode the file, `text` holds the raw bytes and `problem` says why: such a
    file is checked as bytes and never rewritten.
    """

    path: str
    text: bytes
    language: Language = "python"
    encoding: str = "utf-8"
    bom: bytes = b""
    problem: str | None = None

    @cached_property
    def line_starts(self) -> list[int]:
        r"""Offsets of the first byte of every row; `\n`, `\r\n` and a lone `\r` end a row."""
        text = self.text
        if b"\r" not in text:
            return [0, *accumulate(len(row) + 1 for row in text.split(b"\n")[:-1])]
        starts, at = [0], 0
        for line in text.splitlines(keepends=True):  # bytes split at \n, \r and \r\n only
            at += len(line)
            starts.append(at)
        if text and not text.endswith((b"\n", b"\r")):
            starts.pop()
        return starts

    def row(self, offset: int) -> int:
        """The row of an offset, counted from 0."""
        return bisect_right(self.line_starts, offset) - 1

    def row_span(self, row: int) -> Span:
        """The bytes of a row counted from 0, its line ending left out."""
        starts = self.line_starts
        end = starts[row + 1] if row + 1 < len(starts) else len(self.text)
        return Span(starts[row], starts[row] + len(self.text[starts[row] : end].rstrip(b"\r\n")))

    def position(self, offset: int) -> Position:
        """Row and column from 1; the column counts characters, not bytes."""
        row = self.row(offset)
        line = self.text[self.line_starts[row] : offset]
        return Position(row + 1, len(line.decode("utf-8", "replace")) + 1)

    def slice(self, span: Span) -> str:
        """The source of a span as text."""
        return self.text[span.start : span.end].decode("utf-8", "replace")


@record(frozen=True)
class Finding:
    """What a check reports. `captures` is what its fix needs to know: nodes, values, names."""

    rule: str
    span: Span
    message: str
    captures: Mapping[str, Any] = field(default_factory=dict, compare=False)


@record(frozen=True)
class PackageFacts:
    """Bits about the package that a file belongs to, read from bytes without parsing.

    A package is the top-most folder in an unbroken chain of `__init__.py`, else the file's own
    folder. `complete` is false where the folder was not read in time: a bit that is not set is then
    unknown. `project_names_cuda`: so does the project around the package, asked where the package
    names none.
    """

    names_cuda: bool = False
    pins_loaders: bool = False
    is_library: bool = False
    complete: bool = True
    project_names_cuda: bool = False


class Edit(NamedTuple):
    """Replace the bytes of `span` by `content` (an empty span inserts)."""

    span: Span
    content: bytes


@record(frozen=True)
class Plan:
    """A fix that is proven to be possible; `data` is what its `write` needs."""

    safety: Safety
    title: str
    finding: Finding
    facts: Facts = field(compare=False)
    data: Mapping[str, Any] = field(default_factory=dict, compare=False)


class Refusal(NamedTuple):
    """A fix that is not offered, with the reason in one clause ("the mask may be additive")."""

    reason: str


class Need(NamedTuple):
    """An import that edits rely on: `from module import name [as alias]`.

    With an empty `name` it is `import module [as alias]`. `Names.need` makes one and says how the
    name is spelled in the file.
    """

    module: str
    name: str
    alias: str = ""


@record(frozen=True)
class Patch:
    """The edits of one fix. Imports are data: one engine step merges them per file.

    `may_free`: names bound by imports of the file that go if nothing uses them any more.
    """

    edits: tuple[Edit, ...]
    needs: frozenset[Need] = frozenset()
    may_free: frozenset[str] = frozenset()


class Fix(NamedTuple):
    """A fix as it is shown: `edits` is None where only the title was asked for."""

    safety: Safety
    title: str
    edits: tuple[Edit, ...] | None = None


class Diagnostic(NamedTuple):
    """A finding as it is reported, free of trees and nodes, so that it travels between processes."""

    code: str
    name: str
    severity: Severity
    span: Span
    message: str
    fix: Fix | None
    start: Position
    end: Position
    noqa_row: int
