"""What fixes would change, as a unified diff over all files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.render import View, relative
from cudalint.render.style import Style

if TYPE_CHECKING:
    from cudalint.report import Report


def render(report: Report, view: View) -> bytes:
    """The diff in the files' own bytes (as UTF-8), line endings included, so that it applies."""
    from difflib import diff_bytes, unified_diff

    parts: list[bytes] = []
    for result in report.results:
        if result.new_text is None or result.source is None:
            continue
        name = relative(result.path, view.cwd).encode("utf-8", "surrogateescape")
        old, new = _lines(result.source), _lines(result.new_text)
        parts += _terminated(diff_bytes(unified_diff, old, new, name, name))
    if view.color:
        parts = [_colored(line, Style(True)) for line in parts]
    return b"".join(parts)


def _lines(text: bytes) -> list[bytes]:
    r"""Rows with their endings, split at `\n` alone, as `patch` and git do."""
    rows = text.split(b"\n")
    return [row + b"\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])


def _terminated(lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"


def _colored(line: bytes, style: Style) -> bytes:
    text = line.decode("utf-8", "replace").rstrip("\n")
    if text.startswith(("---", "+++")):
        shown = style.bold(text)
    elif text.startswith("@@"):
        shown = style.accent(text)
    elif text.startswith("-"):
        shown = style.removed(text)
    else:
        shown = style.added(text) if text.startswith("+") else text
    return shown.encode() + b"\n"
