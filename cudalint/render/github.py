"""Annotations of GitHub Actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.render import View, relative

if TYPE_CHECKING:
    from cudalint.model import Diagnostic
    from cudalint.report import Report


def render(report: Report, view: View) -> str:
    return "".join(
        _annotation(diagnostic, result.path, relative(result.path, view.cwd))
        for result in report.results
        for diagnostic in result.diagnostics
    )


def _annotation(diagnostic: Diagnostic, path: str, shown: str) -> str:
    """What counts for the exit code is an error there too; hints are notices."""
    kind = "notice" if diagnostic.severity == "hint" else "error"
    (row, column), (end_row, end_column) = diagnostic.start, diagnostic.end
    text = f"{shown}:{row}:{column}: {diagnostic.code} {diagnostic.message}"
    if diagnostic.fix is not None:
        text += f"\n  help: {diagnostic.fix.title}"
    place = f"line={row},col={column},endLine={end_row},endColumn={end_column}"
    title = f"title=cudalint ({diagnostic.code})"
    return f"::{kind} {title},file={_property(path)},{place}::{_data(text)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
