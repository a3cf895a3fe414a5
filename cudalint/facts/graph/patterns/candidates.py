"""Which functions are worth a graph: by the words in their bytes, aliases and helpers included."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

Word = bytes | re.Pattern[bytes]

# The operator, and no decorator: something stands before it, or a blank after it. A pattern that
# begins with plain letters is sought at the speed of `bytes.find`.
_OPERATOR = re.compile(rb"@(?:(?<=[\w)\]]@)|(?<=[\w)\]][ \t]@)|(?=[ \t]))")
PRODUCTS: tuple[Word, ...] = (b"matmul", b"bmm", b"einsum", b".mm(", _OPERATOR)
PRODUCT_NAMES = (b"matmul", b"bmm", b"einsum")
SOFTMAX = (b"oftmax(",)
_DEF, _CLASS = re.compile(rb"def[ \t]"), re.compile(rb"class[ \t]")
_ASSIGNED = re.compile(rb"self\.(\w+)\s*(?::[^=\n]*)?=([^\n]*)$", re.MULTILINE)
_BESIDE = re.compile(rb"(?:self\.\w+\s*,\s*)*")  # the rest of `self.a, self.b = …`
_ALIAS = rb"\b\w*%s\w*\s+as\s+(\w+)|^\s*(\w+)\s*=\s*[\w.]*%s\w*\s*$"


def functions(facts: PythonFacts, *groups: Iterable[Word]) -> Iterator[Node]:
    """The functions whose bytes hold a word of every group, in source order, nested ones too.

    Sought in the rows of the text: the tree is asked only for those that hold all words.
    """
    places = []
    for group in groups:
        places.append(sorted(at for word in group for at in facts.places(word)))
        if not places[-1]:
            return
    for start, end in _definitions(facts.text):
        if not all(_within(positions, start, end) for positions in places):
            continue
        word = facts.root.descendant_for_byte_range(start, start + 1)
        node = word.parent if word is not None else None
        if node is None or node.type != "function_definition":
            continue
        if all(_within(positions, node.start_byte, node.end_byte) for positions in places):
            yield node


@lru_cache(maxsize=1)  # many rules ask one text, in turn
def _definitions(text: bytes) -> list[tuple[int, int]]:
    """Where the `def`s stand, and where at the latest their functions end: at the next header that
    is indented no deeper."""
    made = []
    found = [header for word in (_DEF, _CLASS) for header in _headers(text, word)]
    found.sort()
    for at, (start, indent, is_function) in enumerate(found):
        if is_function:
            end = next((s for s, i, _ in islice(found, at + 1, None) if i <= indent), len(text))
            made.append((start, end))
    return made


def _headers(text: bytes, word: re.Pattern[bytes]) -> Iterator[tuple[int, int, bool]]:
    for match in word.finditer(text):
        row = text.rfind(b"\n", 0, match.start()) + 1
        before = text[row : match.start()]
        lead = before.lstrip(b" \t")
        if lead.rstrip() in (b"", b"async"):
            yield row + len(before) - len(lead), len(before) - len(lead), word is _DEF


def _within(positions: list[int], start: int, end: int) -> bool:
    at = bisect_left(positions, start)
    return at < len(positions) and positions[at] < end


def aliases(facts: PythonFacts, *names: bytes) -> tuple[bytes, ...]:
    """What else the file calls these names: by `as`, or by an assignment."""
    found: list[bytes] = []
    for name in names:
        stem = re.escape(name.strip(b".("))
        if not stem or stem == b"@":
            continue
        alias = re.compile(_ALIAS % (stem, stem))
        for row in _rows(facts.text, name.strip(b".(")):
            found += [group for match in alias.finditer(row) for group in match.groups() if group]
    return tuple(dict.fromkeys(found))


def _rows(text: bytes, word: bytes) -> Iterator[bytes]:
    """The rows that hold a word and may give it another name."""
    at = text.find(word)
    while at >= 0:
        end = text.find(b"\n", at)
        end = len(text) if end < 0 else end
        row = text[text.rfind(b"\n", 0, at) + 1 : end]
        if b" as " in row or b"=" in row:
            yield row
        at = text.find(word, end)


def helpers(
    facts: PythonFacts, *groups: Iterable[Word], without: tuple[bytes, ...] = ()
) -> tuple[bytes, ...]:
    """The calls `NAME(` of the file's own functions that hold a word of every group.

    And none of the words `without`, which tell a step of the computation from all of it.
    """
    found = []
    for function in functions(facts, *groups):
        code = facts.text[function.start_byte : function.end_byte]
        if any(word in code for word in without):
            continue
        name = function.child_by_field_name("name")
        text = facts.code(name).encode() if name is not None else b"__"
        if text != b"forward" and not text.startswith(b"__"):
            found.append(text + b"(")
    return tuple(dict.fromkeys(found))


def attributes(facts: PythonFacts, kind: bytes) -> tuple[bytes, ...]:
    """The calls `self.NAME(` of attributes that hold a module of this kind."""
    if kind not in facts.text:
        return ()
    found = []
    for match in _ASSIGNED.finditer(facts.text):
        start = facts.text.rfind(b"\n", 0, match.start()) + 1
        before = facts.text[start : match.start()].strip()
        if not _BESIDE.fullmatch(before):
            continue
        value = match.group(2)
        if value.rstrip().endswith((b"(", b"[")):
            value += facts.text[match.end() : match.end() + 200].partition(b"self.")[0]
        if kind in value:
            names = (*re.findall(rb"self\.(\w+)", before), match.group(1))
            found += [b"self." + name + b"(" for name in names]
    return tuple(dict.fromkeys(found))
