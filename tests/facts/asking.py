"""Questions to the facts of a piece of text: every row with a trailing comment states an answer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tree_sitter import Node

from cudalint.facts.python import PythonFacts
from cudalint.model import PackageFacts, Source
from cudalint.settings import Settings


def facts_of(text: str, names_cuda: bool = False) -> PythonFacts:
    """The facts of a text; its indentation is taken off."""
    source = Source("a.py", textwrap.dedent(text).encode())
    return PythonFacts(source, Settings(), PackageFacts(names_cuda=names_cuda))


def statements(facts: PythonFacts) -> Iterator[tuple[Node, str]]:
    """The statement that ends on each row with a comment, and the comment's words."""
    for row, line in enumerate(facts.text.decode().split("\n")):
        code, mark, words = line.partition("  # ")
        if not mark:
            continue
        start = facts.source.line_starts[row]
        at = start + len(code) - len(code.lstrip())
        node = facts.root.descendant_for_byte_range(at, at + 1)
        assert node is not None
        yield facts.names.statement(node), words.strip()


def expression(statement: Node) -> Node:
    """The value that a statement computes: the right side of an assignment, or the expression."""
    inner = statement.named_children[0] if statement.named_children else statement
    right = inner.child_by_field_name("right")
    return right if right is not None else inner
