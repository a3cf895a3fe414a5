"""Kernel launches: `kernel<<<grid, block, shared, stream>>>(…)`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from tree_sitter import Node, Query, QueryCursor

from cudalint.facts.cuda.types import last_name
from cudalint.parse import language
from cudalint.records import record

if TYPE_CHECKING:
    from cudalint.facts.cuda import CudaFacts
    from cudalint.facts.cuda.functions import Function


@record(eq=False)
class Launch:
    """A launch: what is launched, how, and the innermost function around it.

    `templates` are the template arguments as they are spelled; `configuration` the arguments
    between `<<<` and `>>>`; `arguments` those of the kernel.
    """

    node: Node
    kernel: str
    templates: tuple[str, ...]
    configuration: tuple[Node, ...]
    arguments: tuple[Node, ...]
    function: Function | None

    @property
    def grid(self) -> Node | None:
        return self.configuration[0] if self.configuration else None

    @property
    def block(self) -> Node | None:
        return self.configuration[1] if len(self.configuration) > 1 else None

    @property
    def stream(self) -> Node | None:
        return self.configuration[3] if len(self.configuration) > 3 else None


@cache
def _query() -> Query:
    query: Query = Query(language("cuda"), "(call_expression (kernel_call_syntax)) @launch")
    return query


def launches(facts: CudaFacts) -> Iterator[Launch]:
    """Every launch, those inside macros included."""
    if b"<<<" not in facts.text:
        return
    trees = [facts.tree, *(tree for _, tree in facts.macro_trees)]
    for tree in trees:
        nodes = QueryCursor(_query()).captures(tree.root_node).get("launch", [])
        for node in sorted(nodes, key=lambda node: node.start_byte):
            yield _launch(node, facts)


def _launch(node: Node, facts: CudaFacts) -> Launch:
    callee = node.child_by_field_name("function")
    syntax = next(child for child in node.children if child.type == "kernel_call_syntax")
    arguments = node.child_by_field_name("arguments")
    return Launch(
        node,
        _callee(callee),
        _template_arguments(callee),
        tuple(child for child in syntax.named_children if child.type != "comment"),
        tuple(child for child in arguments.named_children if child.type != "comment")
        if arguments is not None
        else (),
        facts.enclosing(node),
    )


def _callee(callee: Node | None) -> str:
    return last_name((callee.text or b"").decode("utf-8", "replace")) if callee is not None else ""


def _template_arguments(callee: Node | None) -> tuple[str, ...]:
    found = []
    stack = [callee] if callee is not None else []
    while stack:
        node = stack.pop()
        if node.type == "template_argument_list":
            found += [
                (child.text or b"").decode("utf-8", "replace")
                for child in node.named_children
                if child.type != "comment"
            ]
        else:
            stack += node.named_children
    return tuple(found)
