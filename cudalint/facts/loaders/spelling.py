"""Spelling: whether the words around an iterable allow a loader, before values are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.flow import walk
from cudalint.lazy import Worded

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_SHORT = Worded(("dl", "refetch"), r"(?:^|\W|_)dls?\b|[Pp]refetch")
_PLAIN_TYPES = frozenset(
    {"string", "integer", "dictionary", "set", "list_comprehension", "generator_expression"}
    | {"list", "tuple", "dictionary_comprehension", "set_comprehension", "comparison_operator"}
)
_PLAIN_METHODS = frozenset(
    {"items", "values", "keys", "split", "splitlines", "range", "parameters", "named_parameters"}
    | {"modules", "named_modules", "children", "named_children", "buffers", "glob", "walk"}
)


class Spelling:
    """Cheap answers about iterables of one file."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts

    def allows(self, node: Node) -> bool:
        """Whether an iterable may be a loader by the words in it and in what it comes from."""
        return not self._is_plain(node) and self._is_spelled(node, 0)

    def _is_spelled(self, node: Node, depth: int) -> bool:
        """Whether the words around an iterable allow a loader, before any value is looked at."""
        if self._is_named(node):
            return True
        if depth > 2:
            return False
        for name in walk(node):
            if name.type == "identifier" and self._comes_from_loader(name, depth):
                return True
            if name.type == "attribute" and self._kept_loader(name):
                return True
        return False

    def _comes_from_loader(self, name: Node, depth: int) -> bool:
        for binding in self.facts.flow.reaching(name):
            if binding.kind == "param":
                function = self.facts.names.enclosing(binding.node, "function_definition")
                calls = self.facts.tensors.mentions(function) if function is not None else []
                texts = [binding.statement, *calls]
                if any(map(self._is_named, texts)):
                    return True
            elif (binding.kind == "def" and self._is_named(binding.statement)) or (
                binding.value is not None and self._is_spelled(binding.value, depth + 1)
            ):
                return True
        return False

    def _kept_loader(self, attribute: Node) -> bool:
        """`self.name` or `self.method` of a class that makes or keeps loaders there."""
        if self.facts.code(attribute.children[0]) != "self":
            return False
        holder = self.facts.names.enclosing(attribute, "class_definition")
        name = self.facts.code(attribute.children[-1])
        nodes = self.facts.names.attributes(holder).get(name, []) if holder is not None else []
        method = self.facts.names.method(holder, name) if holder is not None else None
        found = [*nodes, *([method] if method is not None else [])]
        return any(self._is_named(self.facts.names.statement(node)) for node in found)

    def _is_named(self, node: Node) -> bool:
        """Whether code holds a word that loaders are named by."""
        code = self.facts.code(node)
        return "oader" in code or _SHORT.search(code) is not None

    def _is_plain(self, node: Node) -> bool:
        """Whether an iterable's spelling alone says that it is no loader."""
        if node.type in _PLAIN_TYPES:
            return True
        function = node.child_by_field_name("function")
        if function is None:
            return False
        if function.type == "identifier":
            return self.facts.code(function) in ("range", "sorted", "dir", "set", "map", "filter")
        name = self.facts.code(function.children[-1]) if function.type == "attribute" else ""
        return name in _PLAIN_METHODS
