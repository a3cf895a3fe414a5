"""An array of objects with ruff's fields."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Any

from cudalint.model import Source
from cudalint.registry import by_code
from cudalint.render import View, in_order

if TYPE_CHECKING:
    from cudalint.model import Diagnostic, Edit, Fix, Position
    from cudalint.report import Report


def render(report: Report, view: View) -> str:
    objects = []
    for result in report.results:
        source = Source(result.path, result.source or b"")
        objects += [_object(diagnostic, source) for diagnostic in result.diagnostics]
    return dumps(objects, indent=2) + "\n"


def _object(diagnostic: Diagnostic, source: Source) -> dict[str, Any]:
    return {
        "cell": None,
        "code": diagnostic.code,
        "name": diagnostic.name,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "filename": source.path,
        "location": location(diagnostic.start),
        "end_location": location(diagnostic.end),
        "noqa_row": diagnostic.noqa_row,
        "url": by_code()[diagnostic.code].url,
        "fix": None if diagnostic.fix is None else _fix(diagnostic.fix, source),
    }


def location(position: Position) -> dict[str, int]:
    return {"row": position.row, "column": position.column}


def _fix(fix: Fix, source: Source) -> dict[str, Any]:
    return {
        "applicability": fix.safety,
        "message": fix.title,
        "edits": [_edit(edit, source) for edit in in_order(fix)],
    }


def _edit(edit: Edit, source: Source) -> dict[str, Any]:
    return {
        "content": edit.content.decode("utf-8", "replace"),
        "location": location(source.position(edit.span.start)),
        "end_location": location(source.position(edit.span.end)),
    }
