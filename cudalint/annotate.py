"""`--add-noqa`: a suppression of ours for every finding, where it covers it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cudalint.lazy import lazy_compile
from cudalint.logical import statement_rows
from cudalint.model import Edit, Span
from cudalint.rewrite.edits import apply

if TYPE_CHECKING:
    from cudalint.engine import Analysis
    from cudalint.facts import Facts

_OURS = lazy_compile(rb"cudalint:[ \t]*ignore\[([^\]\n]*)\]")


def annotated(analysis: Analysis) -> tuple[bytes, dict[str, int]]:
    """The source with a suppression for every report, and how many were added by code."""
    facts = analysis.facts
    counts: Counter[str] = Counter()
    if facts is None:
        return analysis.source.text, {}
    by_row: dict[int, list[str]] = {}
    for report in analysis.reports:
        if report.rule.by_engine:
            continue
        row = facts.source.row(report.finding.span.start)
        codes = by_row.setdefault(row, [])
        counts[report.rule.code] += 1
        if report.rule.code not in codes:
            codes.append(report.rule.code)
    edits: dict[Span, Edit] = {}
    for row, codes in by_row.items():
        edit = _edit(facts, row, sorted(codes), edits)
        edits[edit.span] = edit
    return apply(facts.text, edits.values()), dict(counts)


def _edit(facts: Facts, row: int, codes: list[str], made: dict[Span, Edit]) -> Edit:
    rows = statement_rows(facts, row)
    for at in (row, rows.stop - 1):
        span = facts.source.row_span(at)
        line = facts.text[span.start : span.end]
        if present := _OURS.search(line):
            start, end = (span.start + offset for offset in present.span(1))
            listed = [*present.group(1).decode().replace(",", " ").split(), *codes]
            return Edit(Span(start, end), ", ".join(dict.fromkeys(listed)).encode())
        if _takes_comment(facts, span):
            place = Span(span.end, span.end)
            before = made[place].content if place in made else b""
            return Edit(place, before + b"  " + _comment(facts, codes))
    first = facts.source.row_span(rows.start)
    line = facts.text[first.start : first.end]
    indent = line[: len(line) - len(line.lstrip())]
    place = Span(first.start, first.start)
    before = made[place].content if place in made else b""
    return Edit(place, before + indent + _comment(facts, codes) + b"\n")


def _comment(facts: Facts, codes: list[str]) -> bytes:
    mark = "//" if facts.source.language == "cuda" else "#"
    return f"{mark} cudalint: ignore[{', '.join(codes)}]".encode()


def _takes_comment(facts: Facts, span: Span) -> bool:
    """Whether a comment at the end of a row is one: not in a string, not after a backslash."""
    if span.end > span.start and facts.text[span.end - 1 : span.end] == b"\\":
        return False
    node = facts.root.descendant_for_byte_range(span.end, span.end)
    while node is not None and node.type not in ("module", "translation_unit"):
        text = "string" in node.type or node.type in ("comment", "preproc_def")
        if text and node.start_byte < span.end < node.end_byte:
            return False
        node = node.parent
    return True
