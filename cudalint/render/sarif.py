"""SARIF 2.1.0, as code scanning services read it."""

from __future__ import annotations

import os
from json import dumps
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cudalint import __version__
from cudalint.model import Source
from cudalint.registry import by_code
from cudalint.render import View, in_order, relative

if TYPE_CHECKING:
    from cudalint.model import Diagnostic, Edit, Fix, Position
    from cudalint.report import Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
HOME = "https://github.com/cudalint/cudalint"
LEVELS = {"error": "error", "warning": "warning", "hint": "note"}


def render(report: Report, view: View) -> str:
    codes = sorted({d.code for result in report.results for d in result.diagnostics})
    order = {code: number for number, code in enumerate(codes)}
    results = []
    for result in report.results:
        source = Source(result.path, result.source or b"")
        place = _artifact(result.path, view.cwd)
        results += [_result(each, source, place, order) for each in result.diagnostics]
    run = {
        "tool": {
            "driver": {
                "name": "cudalint",
                "version": __version__,
                "informationUri": HOME,
                "rules": [_rule(code) for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"uri": f"file://{_quoted(view.cwd.rstrip('/'))}/"}},
        "results": results,
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return dumps(document, indent=2) + "\n"


def _artifact(path: str, cwd: str) -> dict[str, str]:
    """Relative to the current folder, as code scanning wants it, where the file lies below it."""
    shown = relative(path, cwd)
    if shown == path:
        return {"uri": f"file://{_quoted(path)}"}
    return {"uri": _quoted(shown), "uriBaseId": "SRCROOT"}


def _quoted(path: str) -> str:
    return quote(os.fsencode(path))


def _rule(code: str) -> dict[str, Any]:
    from cudalint.pages import page

    rule, text = by_code()[code], page(by_code()[code])
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": text.summary},
        "fullDescription": {"text": text.section("What it does") or text.summary},
        "help": {"text": text.body or text.summary},
        "helpUri": rule.url,
        "defaultConfiguration": {
            "enabled": rule.on,
            "level": LEVELS[rule.severity if rule.on else "hint"],
        },
        "properties": {"name": rule.name, "family": rule.family},
    }


def _result(
    diagnostic: Diagnostic, source: Source, place: dict[str, str], order: dict[str, int]
) -> dict[str, Any]:
    region = _region(diagnostic.start, diagnostic.end)
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": order[diagnostic.code],
        "level": LEVELS[diagnostic.severity],
        "message": {"text": diagnostic.message},
        "locations": [{"physicalLocation": {"artifactLocation": place, "region": region}}],
    }
    if diagnostic.fix is not None and diagnostic.fix.edits:
        result["fixes"] = [_fix(diagnostic.fix, source, place)]
    return result


def _fix(fix: Fix, source: Source, place: dict[str, str]) -> dict[str, Any]:
    replacements = [_replacement(edit, source) for edit in in_order(fix)]
    change = {"artifactLocation": place, "replacements": replacements}
    return {"description": {"text": fix.title}, "artifactChanges": [change]}


def _replacement(edit: Edit, source: Source) -> dict[str, Any]:
    start, end = source.position(edit.span.start), source.position(edit.span.end)
    replacement: dict[str, Any] = {"deletedRegion": _region(start, end)}
    if edit.content:
        replacement["insertedContent"] = {"text": edit.content.decode("utf-8", "replace")}
    return replacement


def _region(start: Position, end: Position) -> dict[str, int]:
    return {
        "startLine": start.row,
        "startColumn": start.column,
        "endLine": end.row,
        "endColumn": end.column,
    }
