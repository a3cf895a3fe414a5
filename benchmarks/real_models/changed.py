"""Which functions of a file a fix has changed."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator


def functions(before: str, after: str) -> list[str]:
    """The qualified names of the innermost functions of `after` that hold a changed row."""
    rows = set(_changed(before.splitlines(), after.splitlines()))
    spans = sorted(_spans(ast.parse(after), ""), key=lambda span: span[2] - span[1])
    names: dict[str, None] = {}
    for row in sorted(rows):
        inner = next((name for name, first, last in spans if first <= row <= last), None)
        if inner is not None:
            names[inner] = None
    return list(names)


def _changed(before: list[str], after: list[str]) -> Iterator[int]:
    """Rows of `after`, from 1, that are new or stand where rows were deleted."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, _, _, start, end in matcher.get_opcodes():
        if kind != "equal":
            yield from range(start + 1, max(end, start + 1) + 1)


def _spans(node: ast.AST, prefix: str) -> Iterator[tuple[str, int, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name = prefix + child.name
            yield name, child.lineno, child.end_lineno or child.lineno
            yield from _spans(child, f"{name}.<locals>.")
        elif isinstance(child, ast.ClassDef):
            yield from _spans(child, f"{prefix}{child.name}.")
        else:
            yield from _spans(child, prefix)
