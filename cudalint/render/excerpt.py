"""The lines around a span, with carets under it, or a bracket beside it where it has many lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cudalint.render.style import Style, printable, width

if TYPE_CHECKING:
    from cudalint.model import Source, Span

Paint = Callable[[str], str]

CONTEXT = 2
# A longer span shows its head and its tail.
HEAD, TAIL = 7, 4
# A longer line (a table of constants, minified code) is cut around the span.
COLUMNS = 160


class _Line(NamedTuple):
    row: int  # counted from 0
    text: str
    start: int  # first column of the span, as shown
    end: int  # column after the span, as shown


def excerpt(source: Source, span: Span, style: Style, severity: str) -> list[str]:
    """Lines of text; the first and the last are empty gutters."""
    first, last = source.row(span.start), _last_row(source, span)
    rows = list(_rows(source, first, last))
    pad = len(str(rows[-1] + 1))
    empty = style.gutter(f"{' ' * pad} |")
    mark = _single if first == last else _bracket
    paint = partial(style.severity, severity)
    body: list[str] = [empty]
    before = rows[0] - 1
    for row in rows:
        if row != before + 1:
            body.append(style.gutter("..." + " " * (pad - 1)) + (" |" if first != last else ""))
        before = row
        gutter = style.gutter(f"{row + 1:<{pad}} |")
        text, notes = mark(_line(source, span, row), first, last, paint)
        body.append(f"{gutter} {text}".rstrip())
        body += [f"{empty} {note}" for note in notes]
    return [*body, empty]


def _last_row(source: Source, span: Span) -> int:
    """The row of the span's last byte."""
    return source.row(max(span.start, span.end - 1))


def _rows(source: Source, first: int, last: int) -> Iterator[int]:
    """The rows to show: blank ones at the edges go, the middle of a long span too."""
    low, high = max(0, first - CONTEXT), min(len(source.line_starts) - 1, last + CONTEXT)
    while low < first and not _raw(source, low).strip():
        low += 1
    while high > last and not _raw(source, high).strip():
        high -= 1
    for row in range(low, high + 1):
        if last - first < HEAD + TAIL + 1 or not first + HEAD <= row <= last - TAIL:
            yield row


def _raw(source: Source, row: int) -> bytes:
    span = source.row_span(row)
    return source.text[span.start : span.end]


def _line(source: Source, span: Span, row: int) -> _Line:
    """A row as it is shown, and the columns of it that lie in the span."""
    whole = source.row_span(row)
    start, end = max(span.start, whole.start), min(span.end, whole.end)
    text = source.text
    before = printable(text[whole.start : start].decode("utf-8", "replace"))
    upto = printable(text[whole.start : max(start, end)].decode("utf-8", "replace"))
    shown = printable(text[whole.start : whole.end].decode("utf-8", "replace"))
    return _cut(_Line(row, shown, width(before), width(upto)))


def _cut(line: _Line) -> _Line:
    if len(line.text) <= COLUMNS:
        return line
    low = max(0, min(line.start - COLUMNS // 4, len(line.text) - COLUMNS))
    text = line.text[low : low + COLUMNS]
    text = ("…" if low else "") + text + ("…" if low + COLUMNS < len(line.text) else "")
    shift = low - 1 if low else 0
    end = min(line.end - shift, COLUMNS + 1)
    return _Line(line.row, text, max(0, line.start - shift), max(end, 1))


def _single(line: _Line, first: int, last: int, paint: Paint) -> tuple[str, list[str]]:
    if line.row != first:
        return line.text, []
    carets = "^" * max(1, line.end - line.start)
    return line.text, [" " * line.start + paint(carets)]


def _bracket(line: _Line, first: int, last: int, paint: Paint) -> tuple[str, list[str]]:
    """A row of a span over several: `/` opens beside a whole line, `_^` under a part of one."""
    bar = paint("|")
    if line.row == first:
        if not line.text[: line.start].strip():
            return f"{paint('/')} {line.text}", []
        return f"  {line.text}", [" " + paint("_" * (line.start + 1) + "^")]
    if line.row == last:
        return f"{bar} {line.text}", [bar + paint("_" * line.end + "^")]
    if first < line.row < last:
        return f"{bar} {line.text}", []
    return f"  {line.text}", []
