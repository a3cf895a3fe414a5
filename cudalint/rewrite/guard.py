"""The parse guard: a fix must leave code that parses as well as it did before."""

from __future__ import annotations

import ast
import warnings

from cudalint.model import Source
from cudalint.parse import parse
from cudalint.records import replace


def keeps_syntax(before: Source, text: bytes) -> bool:
    """Whether `text` in place of the source's parses as well as that did."""
    if before.language == "python" and _compiles(before.text):
        return _compiles(text)
    return _broken(replace(before, text=text)) <= _broken(before)


def _compiles(text: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text.decode("utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _broken(source: Source) -> int:
    """How many spans of a source its grammar could not read."""
    root = parse(source).root_node
    if not root.has_error:
        return 0
    count, stack = 0, [root]
    while stack:
        node = stack.pop()
        count += node.is_error or node.is_missing
        stack.extend(child for child in node.children if child.has_error)
    return count
