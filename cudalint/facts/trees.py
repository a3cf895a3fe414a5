"""The syntax of a source: its whole tree, or trees of the top-level definitions that are asked for.

Most files are silent, and to see that a look at a few of their functions is enough. `Parts` parses
each definition when somebody first looks into it, and the statements between them as one tree.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cudalint.definitions import definitions, outside
from cudalint.facts.bindings import Binding, bindings_of
from cudalint.lazy import lazy_compile
from cudalint.parse import parse

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

    from cudalint.model import Source

_DEFINES = (
    *("function_definition", "class_definition", "decorated_definition"),
    "expression_statement",  # a table
)
_MODULE = -1  # the number of the statements between definitions
_LARGE = 20_000  # bytes, from which a table is left out of the module's own statements
_TABLE = lazy_compile(rb"^([A-Za-z_]\w*)[ \t]*(?::[^=\n]*)?=[ \t]*([\[({])[ \t]*\r?$", re.MULTILINE)
_CLOSING = {b"[": b"\n]", b"(": b"\n)", b"{": b"\n}"}


class NeedsWhole(Exception):
    """What was asked needs the whole tree."""


class Whole:
    """The tree of a source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def tree(self) -> Tree:
        return parse(self.source)

    @property
    def module(self) -> Node:
        """The root, whose children are the statements of the module."""
        return self.tree.root_node

    def at(self, start: int, end: int) -> Node | None:
        """The innermost node around a range of bytes."""
        return self.tree.root_node.descendant_for_byte_range(start, end)

    def bindings(self) -> dict[str, list[Binding]]:
        """What the module binds."""
        return bindings_of(self.tree.root_node)


class _Layout:
    """Where the definitions and the large tables of a text stand, and the statements between them."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.names: defaultdict[str, list[int]] = defaultdict(list)
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.between: list[tuple[int, int]] = []
        for part in definitions(text):
            end = outside(text, part)
            if part.name is not None:
                self._add(part.start, end, part.name)
            self._add_statements(end, part.end)

    def _add(self, start: int, end: int, name: bytes) -> None:
        self.names[name.decode("utf-8", "replace")].append(len(self.starts))
        self.starts.append(start)
        self.ends.append(end)

    def _add_statements(self, start: int, end: int) -> None:
        """The statements between definitions; a large table is asked for by its name."""
        text = self.text
        for table in _TABLE.finditer(text, start, end) if end - start > _LARGE else ():
            closing = text.find(_CLOSING[table[2]], table.end(), end)
            after = text.find(b"\n", closing + 1) + 1 if closing >= 0 else 0
            if after > table.end() + _LARGE and table.start() >= start:
                self.between.append((start, table.start()))
                self._add(table.start(), after, table[1])
                start = after
        if start < end:
            self.between.append((start, end))

    def at(self, offset: int) -> int:
        """The number of the part that an offset stands in, `_MODULE` between them."""
        number = bisect_right(self.starts, offset) - 1
        return number if number >= 0 and offset < self.ends[number] else _MODULE


class Parts:
    """The trees of a Python source's definitions; offsets are those of the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parsed: dict[int, Tree] = {}

    @cached_property
    def _layout(self) -> _Layout:
        return _Layout(self.source.text)

    @property
    def tree(self) -> Tree:
        raise NeedsWhole

    @property
    def module(self) -> Node:
        """The root of the statements between the definitions."""
        return self._part(_MODULE, self._layout.between or [(0, 0)])

    def at(self, start: int, end: int) -> Node | None:
        """The innermost node around a range of bytes."""
        number = self._layout.at(start)
        root = self.module if number == _MODULE else self.definition(number)
        return root.descendant_for_byte_range(start, end)

    @property
    def names(self) -> dict[str, list[int]]:
        """The numbers of the definitions by name."""
        return self._layout.names

    def definition(self, number: int) -> Node:
        """The root of one definition alone."""
        return self._part(number, [(self._layout.starts[number], self._layout.ends[number])])

    def _part(self, number: int, ranges: list[tuple[int, int]]) -> Node:
        if (known := self.parsed.get(number)) is not None:
            return known.root_node
        tree = parse(self.source, ranges)
        if not _is_sound(tree.root_node, number):
            raise NeedsWhole
        self.parsed[number] = tree
        return tree.root_node

    def bindings(self) -> dict[str, list[Binding]]:
        """What the module binds."""
        return _Bindings(self)


def _is_sound(root: Node, number: int) -> bool:
    """Whether a part is what it was taken for: in broken code nobody knows where definitions end."""
    if root.has_error or number == _MODULE:
        return not root.has_error
    return [node.type in _DEFINES for node in root.named_children if node.type != "comment"] == [
        True
    ]


class _Bindings(dict[str, list[Binding]]):
    """Bindings of a module that asks for a definition when its name is."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(bindings_of(parts.module))
        self._parts, self._waiting = parts, dict(parts.names)

    def get(self, name: str, default: Any = None) -> Any:
        for number in self._waiting.pop(name, ()):
            found = bindings_of(self._parts.definition(number)).get(name, [])
            self[name] = sorted((*super().get(name, ()), *found), key=lambda b: b.node.start_byte)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._waiting or super().__contains__(name)

    def __iter__(self) -> Any:
        raise NeedsWhole

    items = values = keys = __iter__
