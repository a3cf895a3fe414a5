"""Marks: `# expect: CODE` (in CUDA `// expect: CODE`) on the row where a finding starts."""

from __future__ import annotations

import re
from typing import NamedTuple

_MARK = re.compile(
    r"[ \t]*(?:#|//)[ \t]*expect:[ \t]*(?P<codes>CU[A-Z]\d{3}(?:[ \t,]+CU[A-Z]\d{3})*)[ \t]*$"
)


class Marked(NamedTuple):
    """A program without its marks, and the (row, code) pairs they stood for, rows from 1."""

    text: str
    expected: list[tuple[int, str]]


def strip(text: str) -> Marked:
    """Take the marks out, and the blanks before them, so that rows stay what they were."""
    expected: list[tuple[int, str]] = []
    rows = []
    for number, row in enumerate(text.split("\n"), 1):
        found = _MARK.search(row)
        if found:
            expected += [(number, code) for code in re.split(r"[ \t,]+", found["codes"])]
            row = row[: found.start()]
        rows.append(row)
    return Marked("\n".join(rows), sorted(expected))
