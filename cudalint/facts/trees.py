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


class Parts:
    """The trees of a Python source's definitions; offsets are those of the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parsed: dict[int, Tree] = {}
        self.names: defaultdict[str, list[int]] = defaultdict(list)
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._between: list[tuple[int, int]] = []
        for part in definitions(source.text):
            end = outside(source.text, part)
            if part.name is not None:
                self._add(part.start, end, part.name)
            self._add_statements(end, part.end)

    def _add(self, start: int, end: int, name: bytes) -> None:
        self.names[name.decode("utf-8", "replace")].append(len(self._starts))
        self._starts.append(start)
        self._ends.append(end)

    def _add_statements(self, start: int, end: int) -> None:
        """The statements between definitions; a large table is asked for by its name."""
        text = self.source.text
        for table in _TABLE.finditer(text, start, end) if end - start > _LARGE else ():
            closing = text.find(_CLOSING[table[2]], table.end(), end)
            after = text.find(b"\n", closing + 1) + 1 if closing >= 0 else 0
            if after > table.end() + _LARGE and table.start() >= start:
                self._between.append((start, table.start()))
                self._add(table.start(), after, table[1])
                start = after
        if start < end:
            self._between.append((start, end))

    @property
    def tree(self) -> Tree:
        raise NeedsWhole

    @cached_property
    def module(self) -> Node:
        """The root of the statements between the definitions."""
        return self._parse(-1, self._between)

    def at(self, start: int, end: int) -> Node | None:
        """The innermost node around a range of bytes."""
        number = bisect_right(self._starts, start) - 1
        inside = number >= 0 and start < self._ends[number]
        return (self.definition(number) if inside else self.module).descendant_for_byte_range(
            start, end
        )

    def definition(self, number: int) -> Node:
        """The root of one definition alone."""
        if (known := self.parsed.get(number)) is not None:
            return known.root_node
        root = self._parse(number, [(self._starts[number], self._ends[number])])
        if [n.type in _DEFINES for n in root.named_children if n.type != "comment"] != [True]:
            raise NeedsWhole
        return root

    def _parse(self, number: int, ranges: list[tuple[int, int]]) -> Node:
        tree = parse(self.source, ranges or [(0, 0)])
        if tree.root_node.has_error:  # nothing is sure then, not even where definitions end
            raise NeedsWhole
        self.parsed[number] = tree
        return tree.root_node

    def bindings(self) -> dict[str, list[Binding]]:
        """What the module binds."""
        return _Bindings(self)


class _Bindings(dict[str, list[Binding]]):
    """Bindings of a module that asks for a definition when its name is."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(bindings_of(parts.module))
        self._parts, self._waiting = parts, parts.names.copy()

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
