"""Logical lines: which rows a comment at the end of a row, or before a statement, speaks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts import Facts

_BLOCKS = {"block", "module", "compound_statement", "translation_unit", "declaration_list"}
_HEADED = ("body", "consequence")
_CLAUSES = {
    "elif_clause",
    "else_clause",
    "except_clause",
    "finally_clause",
    "case_clause",
    "decorator",
}


def covered_rows(facts: Facts, row: int) -> range:
    """The rows that a comment at the end of `row` covers.

    On the first or last row of a logical line all its rows, else that row alone.
    """
    statement = _statement_at(facts, row)
    if statement is None:
        return range(row, row + 1)
    rows = _logical_rows(facts, statement)
    return rows if row in (rows.start, rows.stop - 1) else range(row, row + 1)


def statement_rows(facts: Facts, row: int) -> range:
    """All rows of the logical line that `row` belongs to."""
    statement = _statement_at(facts, row)
    return range(row, row + 1) if statement is None else _logical_rows(facts, statement)


def next_rows(facts: Facts, comment: Node) -> range:
    """The rows of the statement that follows a comment on a line of its own."""
    row = facts.source.row(comment.start_byte)
    last = len(facts.source.line_starts) - 1
    for following in range(row + 1, last + 1):
        statement = _statement_at(facts, following)
        if statement is not None:
            rows = _logical_rows(facts, statement)
            return range(following, max(rows.stop, following + 1))
    return range(row, row + 1)


def _statement_at(facts: Facts, row: int) -> Node | None:
    """The innermost statement, clause or decorator that the first token of a row belongs to."""
    span = facts.source.row_span(row)
    line = facts.text[span.start : span.end]
    start = span.start + len(line) - len(line.lstrip())
    if start == span.end:
        return None
    node = facts.root.descendant_for_byte_range(start, min(start + 1, span.end))
    if node is None or node.type == "comment":
        return None
    while node is not None and not _is_logical(node):
        node = node.parent
    return node


def _is_logical(node: Node) -> bool:
    if node.type in _CLAUSES:
        return True
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "decorated_definition":
        return True
    return parent.type in _BLOCKS and node.type != "decorated_definition"


def _logical_rows(facts: Facts, statement: Node) -> range:
    """The rows of a simple statement, or of the header of one that has a body."""
    first = facts.source.row(statement.start_byte)
    for name in _HEADED:
        body = statement.child_by_field_name(name)
        if body is not None and body.prev_sibling is not None:
            end = body.prev_sibling if body.type == "block" else body
            at = end.end_byte if body.type == "block" else body.start_byte
            return range(first, facts.source.row(at) + 1)
    for child in statement.children:
        if child.type == "block" and child.prev_sibling is not None:
            return range(first, facts.source.row(child.prev_sibling.end_byte) + 1)
    return range(first, facts.source.row(max(statement.end_byte - 1, statement.start_byte)) + 1)
