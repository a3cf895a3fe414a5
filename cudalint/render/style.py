"""Colours for terminals, and source text that a terminal shows as it is meant."""

from __future__ import annotations

import re

TAB = 4
# What stands for a character that a terminal would obey; rows and tabs are none.
_PICTURES = {
    **{number: 0x2400 + number for number in (*range(0x09), *range(0x0B, 0x20))},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
    0xFEFF: 0xFFFD,
}


class Style:
    """Wraps text in ANSI codes; without colour the text is left alone."""

    def __init__(self, color: bool) -> None:
        self.color = color

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text else text

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def gutter(self, text: str) -> str:
        return self._wrap("1;94", text)

    def accent(self, text: str) -> str:
        return self._wrap("36", text)

    def help(self, text: str) -> str:
        return self._wrap("1;96", text)

    def removed(self, head: str, same: str = "", gone: str = "", tail: str = "") -> str:
        return self._changed("31", head + same, gone, tail)

    def added(self, head: str, same: str = "", new: str = "", tail: str = "") -> str:
        return self._changed("32", head + same, new, tail)

    def _changed(self, code: str, head: str, middle: str, tail: str) -> str:
        """A line of a diff, what differs from its counterpart set off."""
        if not self.color:
            return f"{head}{middle}{tail}".rstrip()
        return self._wrap(code, head) + self._wrap(f"1;{code}", middle) + self._wrap(code, tail)

    def error(self, text: str) -> str:
        return self._wrap("1;91", text)

    def severity(self, severity: str, text: str) -> str:
        return self._wrap({"error": "1;91", "warning": "1;93"}.get(severity, "1;96"), text)

    def code(self, text: str) -> str:
        """A message in bold, what stands between backticks set off."""
        if not self.color:
            return text
        parts = re.split(r"(`[^`]*`)", text)
        return "".join(
            self._wrap("1;36" if part.startswith("`") else "1", part) for part in parts if part
        )


def printable(text: str) -> str:
    """Source as a terminal may show it: no control characters, no hidden direction marks."""
    return (text.expandtabs(TAB) if "\t" in text else text).translate(_PICTURES)


def width(text: str) -> int:
    """How many columns a terminal gives to a text."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )
