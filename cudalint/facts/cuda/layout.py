"""Rows and indentation: what edits of CUDA sources need to know of the text."""

from __future__ import annotations

from cudalint.lazy import lazy_compile

_REST = lazy_compile(rb"[ \t]*(?://[^\n]*?|/\*[^\n]*?\*/)?[ \t]*(?=\r?\n|\Z)")


def newline(text: bytes) -> bytes:
    """The line ending of a file."""
    return b"\r\n" if b"\r\n" in text else b"\n"


def row_indent(text: bytes, at: int) -> bytes:
    """The blanks that a row begins with."""
    start = text.rfind(b"\n", 0, at) + 1
    end = start
    while text[end : end + 1] in (b" ", b"\t"):
        end += 1
    return text[start:end]


def after_statement(text: bytes, end: int) -> int | None:
    """Where a row may be added behind a statement: past its comment; None where code follows."""
    match = _REST.match(text, end)
    return match.end() if match is not None else None
