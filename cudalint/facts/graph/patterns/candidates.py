"""Which functions are worth a graph: by the words in their bytes, aliases and helpers included."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from cudalint import definitions
from cudalint.definitions import Function
from cudalint.facts.words import Word
from cudalint.lazy import lazy_compile
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


# The operator, and no decorator: something stands before it, or a blank after it. A pattern that
# begins with plain letters is sought at the speed of `bytes.find`.
_OPERATOR = lazy_compile(rb"@(?:(?<=[\w)\]]@)|(?<=[\w)\]][ \t]@)|(?=[ \t]))")
PRODUCTS: tuple[Word, ...] = (b"matmul", b"bmm", b"einsum", b".mm(", _OPERATOR)
PRODUCT_NAMES = (b"matmul", b"bmm", b"einsum")
SOFTMAX = (b"oftmax(",)
HALF = (b".5", b"/2", b"/ 2")
# A root of a tensor: not a number's, by `math` or `numpy`.
ROOTS: tuple[Word, ...] = (
    lazy_compile(rb"sqrt_?\((?<!math\.sqrt\()(?<!np\.sqrt\()(?<!numpy\.sqrt\()"),
    Rare((b"**",), rb"\*\*\s*\(*\s*-?\s*\(*(?:0?\.5|1\.?0?\s*/\s*2)"),
    Rare(HALF, rb"[(,=]\s*-?\s*(?:0?\.5|1\.?0?\s*/\s*2)\s*[,)]"),
)
_ASSIGNED = lazy_compile(rb"self\.(\w+)\s*(?::[^=\n]*)?=([^\n]*)$", re.MULTILINE)
_BESIDE = lazy_compile(rb"(?:self\.\w+\s*,\s*)*")  # the rest of `self.a, self.b = …`
# What `_ALIAS` cannot be without: it begins with the stem, which `re` seeks like `bytes.find`.
_RENAMED = rb"(?:%s)\w*(?=[ \t]+as[ \t]|[ \t\r]*(?:\n|\Z))"
_LAMBDA = 1_000  # bytes of one that is worth a look
_ALIAS = rb"\b\w*%s\w*\s+as\s+(\w+)|^\s*(\w+)\s*=\s*[\w.]*%s\w*\s*$"


def functions(
    facts: PythonFacts,
    *groups: Iterable[Word],
    where: Callable[[int, int], bool] = lambda start, end: True,
    lambdas: bool = False,
) -> Iterator[Node]:
    """The functions whose bytes hold a word of every group, in source order, nested ones too.

    Sought in the rows of the text, the first group everywhere and the others where it is: the tree
    is asked only for those that hold all words, and whose range of bytes `where` wants. `lambdas`:
    those too, after the functions.
    """
    for function in _holding(facts, groups):
        if not where(function.start, function.end):
            continue
        word = facts.at(function.start, function.start + 1)
        node = word.parent if word is not None else None
        if node is None or node.type != "function_definition":
            continue
        if all(facts.holds(group, node.start_byte, node.end_byte) for group in groups):
            yield node
    for node in _lambdas(facts, groups) if lambdas else ():
        start, end = node.start_byte, node.end_byte
        if where(start, end) and all(facts.holds(group, start, end) for group in groups):
            yield node


def _lambdas(facts: PythonFacts, groups: Sequence[Iterable[Word]]) -> Iterator[Node]:
    """The lambdas with a word of the first group in a row of theirs, or in the next.

    And with words of the others not far behind.
    """
    first, *others = groups
    starts = facts.places(b"lambda") if b"lambda" in facts.text else []
    positions = sorted(at for word in first for at in facts.places(word)) if starts else []
    for at in starts if positions else ():
        end = facts.text.find(b"\n", facts.text.find(b"\n", at) + 1)
        if not within(positions, at, end if end > at else len(facts.text)):
            continue
        if not all(facts.holds(group, at, at + _LAMBDA) for group in others):
            continue
        word = facts.at(at, at + 6)
        if word is not None and word.type == "lambda" and word.parent is not None:
            yield word if word.named_children else word.parent


def _holding(facts: PythonFacts, groups: Sequence[Iterable[Word]]) -> Iterator[Function]:
    """The functions that hold a word of every group, as far as the bytes tell."""
    first, *others = groups
    positions = sorted(at for word in first for at in facts.places(word))
    for function in definitions.functions(facts.text) if positions else ():
        start, end, _, _ = function
        if within(positions, start, end) and all(facts.holds(g, start, end) for g in others):
            yield function


def within(positions: list[int], start: int, end: int) -> bool:
    """Whether a place stands in a range of bytes."""
    at = bisect_left(positions, start)
    return at < len(positions) and positions[at] < end


def aliases(facts: PythonFacts, *names: bytes) -> tuple[bytes, ...]:
    """What else the file calls these names: by `as`, or by an assignment."""
    found: list[bytes] = []
    for name in names:
        stem = re.escape(name.strip(b".("))
        if not stem or stem == b"@":
            continue
        for row in _rows(facts.text, stem):
            matches = re.finditer(_ALIAS % (stem, stem), row)
            found += [group for match in matches for group in match.groups() if group]
    return tuple(dict.fromkeys(found))


def _rows(text: bytes, stem: bytes) -> Iterator[bytes]:
    """The rows in which a word that holds a stem may get another name: before `as`, or at the end."""
    last = 0
    for match in re.finditer(_RENAMED % stem, text):
        if match.start() >= last:
            last = text.find(b"\n", match.end())
            last = len(text) if last < 0 else last
            yield text[text.rfind(b"\n", 0, match.start()) + 1 : last]


def helpers(
    facts: PythonFacts, *groups: Iterable[Word], without: tuple[bytes, ...] = ()
) -> tuple[bytes, ...]:
    """The calls `NAME(` of the file's own functions that hold a word of every group.

    And none of the words `without`, which tell a step of the computation from all of it.
    """
    found = []
    for start, end, name, _ in _holding(facts, groups):
        if any(facts.text.find(word, start, end) >= 0 for word in without):
            continue
        if name != b"forward" and not name.startswith(b"__"):
            found.append(name + b"(")
    return tuple(dict.fromkeys(found))


def modules(facts: PythonFacts, *groups: Iterable[Word]) -> tuple[bytes, ...]:
    """The calls `self.NAME(` of modules of the file whose `forward`, which reads nothing of its
    object, holds a word of every group."""
    found: list[bytes] = []
    for start, end, name, _ in _holding(facts, groups):
        if name != b"forward" or facts.text.find(b"self.", start, end) >= 0:
            continue
        at = facts.text.rfind(b"\nclass ", 0, start)
        holder = re.compile(rb"\nclass (\w+)").match(facts.text, max(at, 0))
        if holder is not None:
            found += attributes(facts, holder.group(1) + b"(")
    return tuple(dict.fromkeys(found))


def attributes(facts: PythonFacts, kind: bytes) -> tuple[bytes, ...]:
    """The calls `self.NAME(` of attributes that hold a module of this kind."""
    if kind not in facts.text:
        return ()
    found = []
    for names, value in _assignments(facts.text):
        if kind in value:
            found += [b"self." + name + b"(" for name in names]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1)  # many rules ask one text, in turn
def _assignments(text: bytes) -> list[tuple[list[bytes], bytes]]:
    """What is assigned to attributes of `self`, and the names it gets, `self.a, self.b = …`."""
    found = []
    for match in _ASSIGNED.finditer(text):
        before = text[text.rfind(b"\n", 0, match.start()) + 1 : match.start()].strip()
        if before and not _BESIDE.fullmatch(before):
            continue
        value = match.group(2)
        if value.rstrip().endswith((b"(", b"[")):
            value += text[match.end() : match.end() + 200].partition(b"self.")[0]
        beside = re.findall(rb"self\.(\w+)", before) if before else []
        found.append(([*beside, match.group(1)], value))
    return found
