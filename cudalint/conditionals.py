"""Conditional groups of the preprocessor (`#if … #else … #endif`) as offsets, and as one text.

Both branches of a group are kept where each is made of whole statements. Where a group cuts
through a statement, a parameter list or a pair of braces, one branch is kept, that of CUDA rather
than HIP, and the rest is blanked: offsets stay true. `#if 0` is no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cudalint.lazy import lazy_compile
from cudalint.records import field, record

_REST = rb"(?:[^\n\\]|\\\r?\n|\\.)*"
_DIRECTIVE = lazy_compile(rb"\#[ \t]*(ifdef|ifndef|if|elif|else|endif)\b(" + _REST + rb")")
_NO_CODE = lazy_compile(
    rb"//" + _REST + rb"|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)'|^[ \t]*\#" + _REST,
    re.M | re.S,
)
_PRINTED = lazy_compile(rb"[^\r\n]")
_HIP = lazy_compile(rb"HIP|ROCM|AMD|__gfx|HCC")
_PAIRS = ((b"(", b")"), (b"{", b"}"), (b"[", b"]"))
_WORDS = ((b"and", b"&& "), (b"or", b"||"), (b"not", b"!  "))
# A group this long is a header's guard or a whole section of a file, never part of a statement.
_SECTION = 20_000


@record
class Branch:
    """One branch: its directive's word and condition, where the directive and its code stand."""

    word: bytes
    condition: bytes
    start: int
    code: int
    end: int = -1


@record
class Group:
    """A conditional group: its branches, and where its `#endif` stands."""

    branches: list[Branch] = field(default_factory=list)
    endif: tuple[int, int] = (-1, -1)


def groups(text: bytes) -> Iterator[Group]:
    """Every whole group, the inner ones first."""
    open_groups: list[Group] = []
    for match in _DIRECTIVE.finditer(text):
        start = match.start()
        if text[text.rfind(b"\n", 0, start) + 1 : start].strip():
            continue
        word = match.group(1)
        if word.startswith(b"if"):
            open_groups.append(Group())
        elif not open_groups:
            continue
        else:
            open_groups[-1].branches[-1].end = start
        if word == b"endif":
            group = open_groups.pop()
            group.endif = match.span()
            yield group
        else:
            branch = Branch(word, match.group(2).strip(), start, match.end())
            open_groups[-1].branches.append(branch)


def is_hip(branch: Branch) -> bool:
    """Whether a branch is taken under HIP alone."""
    if _HIP.search(branch.condition) is None:
        return False
    return branch.word != b"ifndef" and b"!" not in branch.condition


def resolved(text: bytes) -> bytes:
    """`text` with groups that cut through statements reduced to one branch."""
    out: bytearray | None = None
    for group in groups(text):
        kept = _kept(group, out or text)
        if kept is None and not any(map(_is_wordy, group.branches)):
            continue
        out = bytearray(text) if out is None else out
        if kept is None:
            _respell_conditions(out, group)
        else:
            _reduce(out, group, kept)
    return text if out is None else bytes(out)


def _kept(group: Group, text: bytes | bytearray) -> list[Branch] | None:
    """The branches to keep without their directives; None leaves the group as it is."""
    first = group.branches[0]
    if first.word == b"if" and first.condition in (b"0", b"false", b"1", b"true"):
        dead = first.condition in (b"0", b"false")
        return group.branches[1:] if dead else [first]
    if group.endif[0] - first.start > _SECTION:
        return None
    codes = [_code(text, branch) for branch in group.branches]
    if all(code.startswith(b"else") for code in codes) and all(map(_balanced, codes)):
        return group.branches
    if _before(text, first.start) in b";{}" and all(map(_whole, codes)):
        return None
    if not any(codes):
        return []
    return [_preferred(group, codes)]


def _code(text: bytes | bytearray, branch: Branch) -> bytes:
    return _NO_CODE.sub(b" ", bytes(text[branch.code : branch.end])).strip()


def _balanced(code: bytes) -> bool:
    return all(code.count(opening) == code.count(closing) for opening, closing in _PAIRS)


def _whole(code: bytes) -> bool:
    """Whether code is made of whole statements or definitions."""
    if not code:
        return True
    return code[-1:] in b";}" and not code.startswith((b"else", b")", b"}")) and _balanced(code)


def _before(text: bytes | bytearray, at: int) -> bytes:
    """The last byte of code before a directive; `;` at the start of the file."""
    for size in (200, 4000):
        code = _NO_CODE.sub(b" ", bytes(text[max(0, at - size) : at])).rstrip()
        if code:
            return code[-1:]
    return b";"


def _preferred(group: Group, codes: list[bytes]) -> Branch:
    """The branch that CUDA takes, of these the first with code in it."""
    cuda = [
        (branch, code)
        for branch, code in zip(group.branches, codes, strict=True)
        if not is_hip(branch)
    ]
    for branch, code in cuda:
        if code:
            return branch
    return cuda[0][0] if cuda else group.branches[0]


def _is_wordy(branch: Branch) -> bool:
    return any(b" " + word + b" " in branch.condition for word, _ in _WORDS)


def _respell_conditions(out: bytearray, group: Group) -> None:
    """`defined(A) and B` is `defined(A) && B`, which the grammar reads."""
    for branch in group.branches:
        line = bytes(out[branch.start : branch.code])
        for word, operator in _WORDS:
            line = re.sub(rb"\b" + word + rb"\b", operator, line)
        out[branch.start : branch.code] = line


def _reduce(out: bytearray, group: Group, kept: list[Branch]) -> None:
    """Blank the directives of a group and the branches that are not kept."""
    for branch in group.branches:
        end = branch.code if any(branch is keep for keep in kept) else branch.end
        out[branch.start : end] = _PRINTED.sub(b" ", out[branch.start : end])
    start, end = group.endif
    out[start:end] = _PRINTED.sub(b" ", out[start:end])
