"""The classes of a Python text that may be modules of torch, by the names of their bases."""

from __future__ import annotations

from functools import cached_property

from cudalint.lazy import lazy_compile

_CLASS = lazy_compile(rb"class[ \t]+(\w+)\b(?:\s*(?:\[[^\n]*\])?\(([^)]*))?")
_NO_MODULE = lazy_compile(
    rb"^\s*(?:object|(?:\w+\.)*(?:Function|ABC|NamedTuple|Protocol|Generic\b.*))?\s*$"
)
_NAME = lazy_compile(rb"\w+\Z")
# How modules of other files are called (see `is_module_class`).
_MODULE = lazy_compile(rb"(?:Module|PreTrainedModel|ModelMixin|MessagePassing|Net|Model)\Z")
_FOREIGN = (b"from torch.nn", b"lightning")  # what classes of any name are imported from


class Bases:
    """The classes of one text."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def may_derive(self, name: bytes) -> bool:
        """Whether a class has a base, and not only those of other things."""
        given = self._of.get(name, b"").split(b",")
        return any(not _NO_MODULE.search(base) for base in given)

    def may_be_module(self, name: bytes) -> bool:
        """Whether a class, or a class of the text that it derives from, may derive from a module."""
        seen, todo = {name}, [name]
        while todo:
            for given in self._of.get(todo.pop(), b"").split(b","):
                base = given.strip()
                if base in self._of and not _MODULE.search(base):
                    todo += () if base in seen else (base,)
                    seen.add(base)
                elif not _NO_MODULE.search(base) and self._may_mean_module(base):
                    return True
        return False

    def _may_mean_module(self, base: bytes) -> bool:
        if not _NAME.match(base) or _MODULE.search(base):
            return True
        renames = (b" as " + base, base + b" = ", base + b"=", *_FOREIGN)
        return any(words in self.text for words in renames)

    @cached_property
    def _of(self) -> dict[bytes, bytes]:
        """What stands between the brackets of each class, where it is first defined."""
        found = reversed([*_CLASS.finditer(self.text)])
        return {match[1]: match[2] or b"" for match in found}
