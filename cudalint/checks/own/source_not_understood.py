"""A span of the source could not be read and was therefore not checked.

## What it does
Reports each outermost span that the grammar could not parse, and bytes that are not text in the
encoding that the file declares (by a byte-order mark, a PEP 263 cookie, or UTF-8 without either).

## Why is this bad
What is not understood is not checked: the rest of the file is, but a finding inside such a span is
missed. A file that cannot be decoded is checked as bytes and never fixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.model import Finding, Span

if TYPE_CHECKING:
    from cudalint.facts import Facts


def check(facts: Facts) -> Iterator[Finding]:
    if facts.source.problem is not None:
        yield Finding("CUE001", Span(0, 0), f"Checked as bytes: {facts.source.problem}")
    stack = [facts.root] if facts.root.has_error else []
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            message = "Not understood, and therefore not checked"
            yield Finding("CUE001", Span(node.start_byte, node.end_byte), message)
        else:
            stack.extend(child for child in reversed(node.children) if child.has_error)
