"""What edits change, as lines: computed around the edits, never over the whole file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cudalint.model import Edit, Source

CONTEXT = 1


class Row(NamedTuple):
    """A line of a diff: `sign` is " ", "-" or "+", `number` its row in the file after the fix.

    `changed` is the part of the text that its counterpart does not have, where there is one.
    """

    sign: str
    number: int
    text: str
    changed: tuple[int, int] = (0, 0)


def hunks(source: Source, edits: list[Edit]) -> Iterator[list[Row]]:
    """The places that edits, given in order, change; each with a little context."""
    shift = 0
    for group in _groups(source, edits):
        rows, shift = _hunk(source, group, shift)
        if rows:
            yield rows


def _groups(source: Source, edits: Sequence[Edit]) -> Iterator[list[Edit]]:
    """Edits whose lines, context included, meet."""
    group: list[Edit] = []
    last = 0
    for edit in edits:
        if group and source.row(edit.span.start) > last + 2 * CONTEXT + 1:
            yield group
            group = []
        group.append(edit)
        last = max(last, source.row(edit.span.end))
    if group:
        yield group


def _hunk(source: Source, group: list[Edit], shift: int) -> tuple[list[Row], int]:
    """The rows of one place, and by how much the rows after it move."""
    starts, text = source.line_starts, source.text
    first = max(0, source.row(group[0].span.start) - CONTEXT)
    last = min(len(starts), max(source.row(e.span.end) for e in group) + CONTEXT + 1)
    low, high = starts[first], starts[last] if last < len(starts) else len(text)
    old = _lines(text[low:high])
    new = _lines(_applied(text, low, high, group))
    rows = list(_trimmed(_rows(old, new, first + shift)))
    return rows, shift + len(new) - len(old)


def _applied(text: bytes, low: int, high: int, group: list[Edit]) -> bytes:
    parts, at = [], low
    for edit in group:
        parts += [text[at : edit.span.start], edit.content]
        at = edit.span.end
    return b"".join([*parts, text[at:high]])


def _lines(data: bytes) -> list[str]:
    return [line.decode("utf-8", "replace") for line in data.splitlines()]


def _rows(old: list[str], new: list[str], first: int) -> Iterator[Row]:
    from difflib import SequenceMatcher

    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (Row(" ", first + n + 1, new[n]) for n in range(k, m))
            continue
        pairs = list(zip(old[i:j], new[k:m], strict=True)) if j - i == m - k else []
        yield from (
            Row("-", first + k + 1, line, _differing(*pairs[n]) if pairs else (0, 0))
            for n, line in enumerate(old[i:j])
        )
        yield from (
            Row("+", first + k + n + 1, line, _differing(*pairs[n][::-1]) if pairs else (0, 0))
            for n, line in enumerate(new[k:m])
        )


def _differing(text: str, other: str) -> tuple[int, int]:
    """The part of a line between what it begins and what it ends with in common with another."""
    low = _common(text, other)
    return low, len(text) - _common(text[low:][::-1], other[low:][::-1])


def _common(text: str, other: str) -> int:
    pairs = enumerate(zip(text, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(text), len(other)))


def _trimmed(rows: Iterable[Row]) -> list[Row]:
    """Only so much context as is wanted around the first and the last change; no blank edges."""
    kept = list(rows)
    changed = [n for n, row in enumerate(kept) if row.sign != " "]
    if not changed:
        return []
    low, high = max(0, changed[0] - CONTEXT), min(len(kept), changed[-1] + 1 + CONTEXT)
    while low < changed[0] and not kept[low].text.strip():
        low += 1
    while high > changed[-1] + 1 and not kept[high - 1].text.strip():
        high -= 1
    return kept[low:high]
