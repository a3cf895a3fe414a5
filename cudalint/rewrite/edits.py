"""Byte edits: ordering, overlap, and their application with the file's own line endings."""

from __future__ import annotations

from collections.abc import Iterable

from cudalint.model import Edit, Span


def overlaps(one: Span, other: Span) -> bool:
    """Whether two edits touch: two insertions at one place do, neighbours do not."""
    if one.start == other.start:
        return True
    return one.start < other.end and other.start < one.end


def clash(edits: Iterable[Edit], taken: Iterable[Edit]) -> bool:
    """Whether any of `edits` touches any of `taken`."""
    held = list(taken)
    return any(overlaps(edit.span, other.span) for edit in edits for other in held)


def apply(text: bytes, edits: Iterable[Edit]) -> bytes:
    r"""`text` with the edits made, each `\n` of theirs written as the file ends its lines."""
    newline = dominant_newline(text)
    parts: list[bytes] = []
    at = 0
    for span, content in sorted(edits):
        if span.start < at:
            raise ValueError(f"edits overlap at byte {span.start}")
        parts.append(text[at : span.start])
        parts.append(with_newlines(content, newline))
        at = span.end
    parts.append(text[at:])
    return b"".join(parts)


def with_newlines(content: bytes, newline: bytes) -> bytes:
    r"""Content with every line ending spelled `newline`."""
    plain = content.replace(b"\r\n", b"\n")
    return plain if newline == b"\n" else plain.replace(b"\n", newline)


def dominant_newline(text: bytes) -> bytes:
    """How most lines of a text end."""
    crlf = text.count(b"\r\n")
    lf = text.count(b"\n") - crlf
    cr = text.count(b"\r") - crlf
    if crlf > lf and crlf >= cr:
        return b"\r\n"
    return b"\r" if cr > lf else b"\n"
