"""For people: message, place, source with carets, and the fix as a diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.model import Source
from cudalint.render import View, applies, in_order, relative
from cudalint.render.excerpt import excerpt
from cudalint.render.hunks import Row, hunks
from cudalint.render.style import Style, printable

if TYPE_CHECKING:
    from cudalint.model import Diagnostic, Fix
    from cudalint.report import Report

NOTES = {
    "unsafe": "this fix is unsafe: it is right in nearly all programs, not in all",
    "displayonly": "this fix is only shown: it needs a decision of yours",
}


def render(report: Report, view: View) -> str:
    style = Style(view.color)
    blocks = []
    for result in report.results:
        source = None if result.source is None else Source(result.path, result.source)
        path = relative(result.path, view.cwd)
        for diagnostic in result.diagnostics:
            blocks.append("\n".join(_block(diagnostic, source, path, view, style)))
    return "".join(f"{block}\n\n" for block in blocks)


def _block(
    diagnostic: Diagnostic, source: Source | None, path: str, view: View, style: Style
) -> list[str]:
    code = style.severity(diagnostic.severity, diagnostic.code)
    mark = style.accent("[*] ") if applies(diagnostic, view) else ""
    place = f"{path}:{diagnostic.start.row}:{diagnostic.start.column}"
    message = style.code(printable(diagnostic.message))
    lines = [f"{code} {mark}{style.dim(f'{diagnostic.name}:')} {message}"]
    shown = []
    if source is not None:
        shown = excerpt(source, diagnostic.span, style, diagnostic.severity)
    pad = len(str(diagnostic.end.row + 1)) if not shown else _pad(shown[-1])
    lines.append(f"{style.gutter(' ' * pad + '-->')} {place}")
    lines += shown
    if diagnostic.fix is not None:
        lines += _fix(diagnostic.fix, source, style)
    return lines


def _pad(gutter: str) -> int:
    """The width of the row numbers, read from an empty gutter."""
    return len(gutter.rpartition("|")[0].rpartition("m")[2]) - 1


def _fix(fix: Fix, source: Source | None, style: Style) -> list[str]:
    lines = [f"{style.help('help:')} {style.code(fix.title)}"]
    if source is not None and fix.edits:
        lines += _diff(list(hunks(source, in_order(fix))), style)
    if note := NOTES.get(fix.safety):
        lines.append(f"{style.help('note:')} {note}")
    return lines


def _diff(places: list[list[Row]], style: Style) -> list[str]:
    if not places:
        return []
    pad = len(str(max(row.number for rows in places for row in rows)))
    empty = style.gutter(f"{' ' * pad} |")
    lines = [empty]
    for number, rows in enumerate(places):
        if number:
            lines.append(style.gutter("..."))
        lines += [_row(row, pad, style) for row in rows]
    return [*lines, empty]


def _row(row: Row, pad: int, style: Style) -> str:
    low, high = row.changed
    parts = [printable(part) for part in (row.text[:low], row.text[low:high], row.text[high:])]
    if row.sign == "-":
        return style.removed(f"{' ' * pad} - ", *parts)
    if row.sign == "+":
        return style.gutter(f"{row.number:<{pad}}") + style.added(" + ", *parts)
    return f"{style.gutter(f'{row.number:<{pad}} |')} {parts[0]}{parts[1]}{parts[2]}".rstrip()
