"""What a run is asked for and what it hands to the renderers: plain values, no heavy imports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from cudalint.model import Diagnostic

# check: findings only · fix: write what is mended · diff: as fix, but nothing is written ·
# add-noqa: write a suppression for every finding.
Mode = Literal["check", "fix", "diff", "add-noqa"]
# Whether `Fix.edits` and `FileResult.source` are wanted ("shown") or the title alone ("none").
Edits = Literal["none", "shown"]
Progress = Callable[[int, int], None]


class Target(NamedTuple):
    """A file to check. `path` is absolute.

    `explicit`: named on the command line, so that it is checked whatever its suffix says.
    `content`: the bytes of standard input; `path` is then the name it goes by, and nothing is
    written anywhere.
    """

    path: str
    explicit: bool = False
    content: bytes | None = None


class FileResult(NamedTuple):
    """What came of one file; a file without findings, fixes and errors needs none.

    `diagnostics` are ordered by place; in modes "fix" and "diff" they are what remains, their
    spans those of the text after the fixes.
    `source` is the text the spans refer to, as `Source.text` is: UTF-8, no byte-order mark. Wanted
    with edits "shown" and in mode "diff", where it is the text before.
    `new_text` is the text after the fixes, in the same form; None where nothing changed.
    `fixed` counts what was mended (or would be, in mode "diff"; suppressed, in "add-noqa") by code.
    `errors` are sentences, with or without `path: ` before them: what could not be read, which
    rule crashed.
    """

    path: str
    source: bytes | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    fixed: Mapping[str, int] = {}  # never written to
    new_text: bytes | None = None
    errors: tuple[str, ...] = ()
    encoding: str = "utf-8"
    bom: bytes = b""


class Report(NamedTuple):
    """How many files were looked at, and those that have something to say, in order of path."""

    files: int
    results: tuple[FileResult, ...] = ()
