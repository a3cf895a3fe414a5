"""Facts and graphs of small sources, for tests."""

from __future__ import annotations

from textwrap import dedent

from cudalint.facts.graph import Graph
from cudalint.facts.python import PythonFacts
from cudalint.model import PackageFacts, Source
from cudalint.settings import Settings


def facts_of(source: str, **settings: object) -> PythonFacts:
    text = dedent(source).encode()
    return PythonFacts(Source("program.py", text), Settings(**settings), PackageFacts())  # type: ignore[arg-type]


def graph_of(source: str, name: str = "f") -> Graph:
    """The graph of the function of this name, at the top of the source or in its first class."""
    facts = facts_of(source)
    stack = [facts.root]
    while stack:
        node = stack.pop()
        if node.type == "function_definition":
            found = node.child_by_field_name("name")
            if found is not None and facts.code(found) == name:
                return facts.graphs.of(node)
        stack.extend(reversed(node.named_children))
    raise LookupError(name)
