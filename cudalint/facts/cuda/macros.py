"""The `#define`s of a CUDA file: constants, aliases, helpers in capitals, and code inside them."""

from __future__ import annotations

import re
from typing import NamedTuple

from cudalint.lazy import lazy_compile
from cudalint.model import Span

_REST = rb"(?:[^\n\\]|\\\r?\n|\\.)*"
_DEFINE = lazy_compile(rb"\#[ \t]*define[ \t]+(\w+)(\([\w\s,.\\]*\))?(" + _REST + rb")")
_COMMENT = lazy_compile(rb"//[^\n]*|/\*.*?\*/", re.S)


class Macro(NamedTuple):
    """One definition. `parameters` is None for a macro without parentheses."""

    name: str
    parameters: tuple[str, ...] | None
    body: str
    span: Span
    value: Span

    @property
    def is_code(self) -> bool:
        """Whether it holds a kernel or a launch, so that it is parsed as code of its own."""
        return "<<<" in self.body or "__global__" in self.body


class Macros:
    """Definitions by name; a name defined in several branches has several."""

    def __init__(self, text: bytes) -> None:
        self.by_name: dict[str, list[Macro]] = {}
        for match in _DEFINE.finditer(text) if b"define" in text else ():
            macro = _macro(match)
            self.by_name.setdefault(macro.name, []).append(macro)

    def all(self) -> list[Macro]:
        """Every definition, in no particular order."""
        return [macro for macros in self.by_name.values() for macro in macros]

    def get(self, name: str) -> Macro | None:
        """The definition of a name; None where it has none, or several that differ."""
        macros = self.by_name.get(name, [])
        return macros[0] if len({macro.body for macro in macros}) == 1 else None

    def constant(self, name: str) -> int | None:
        """The integer that a name stands for: `#define N 32`."""
        macro = self.get(name)
        if macro is None or macro.parameters is not None:
            return None
        return integer(macro.body.strip("() \t"))


def integer(text: str) -> int | None:
    """A C++ integer literal."""
    digits = text.rstrip("uUlLzZ").replace("'", "")
    try:
        if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
            return int(digits, 8)
        return int(digits, 0)
    except ValueError:
        return None


def _macro(match: re.Match[bytes]) -> Macro:
    parameters = match.group(2)
    names = None
    if parameters is not None:
        names = tuple(re.findall(r"\w+|\.\.\.", parameters.decode("utf-8", "replace")))
    body = _COMMENT.sub(b" ", match.group(3)).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    return Macro(
        match.group(1).decode("utf-8", "replace"),
        names,
        body.decode("utf-8", "replace").strip(),
        Span(match.start(), match.end()),
        Span(match.start(3), match.end(3)),
    )
