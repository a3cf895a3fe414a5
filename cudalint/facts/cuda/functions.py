"""The functions of a CUDA file: kernels, device helpers, host code, macros that hold code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

from tree_sitter import Node, Parser, Query, QueryCursor, Range, Tree

from cudalint.blank import spaces
from cudalint.facts.cuda.types import UNKNOWN, CType, inner, last_name, spelled
from cudalint.lazy import lazy_compile
from cudalint.parse import language
from cudalint.records import record

if TYPE_CHECKING:
    from cudalint.facts.cuda import CudaFacts
    from cudalint.facts.cuda.macros import Macro

_QUALIFIER = lazy_compile(rb"__(?:global|device|host)__|\b[A-Z_]*DEVICE\b")
_HEAD = b"void f(){"


class Parameter(NamedTuple):
    """A parameter: its name, the type with aliases resolved, and the sizes of its array form."""

    name: str
    type: CType
    node: Node
    sizes: tuple[Node, ...] = ()

    @property
    def is_pointer(self) -> bool:
        return self.type.pointer > 0 or bool(self.sizes)


@record(eq=False)
class Function:
    """A function definition with a body. `macro` is the `#define` that holds it, if one does."""

    name: str
    node: Node
    body: Node
    declarator: Node
    qualifiers: frozenset[str]
    templates: frozenset[str]
    values: frozenset[str]
    macro: Macro | None
    facts: CudaFacts

    @property
    def is_kernel(self) -> bool:
        return "__global__" in self.qualifiers

    @property
    def is_device(self) -> bool:
        """Whether it runs on the device and is no kernel."""
        return "__device__" in self.qualifiers and not self.is_kernel

    @cached_property
    def is_whole(self) -> bool:
        """Whether the grammar read all of the body; a missing `;` after a macro does no harm."""
        return not is_broken(self.body)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(_parameters(self))

    @cached_property
    def owner(self) -> str:
        """The name of the class or structure that a member function stands in."""
        parent = self.node.parent
        while parent is not None:
            if parent.type in ("struct_specifier", "class_specifier"):
                name = parent.child_by_field_name("name")
                return last_name((name.text or b"").decode()) if name is not None else ""
            parent = parent.parent
        return ""

    @cached_property
    def text(self) -> bytes:
        """The source of the body."""
        return self.facts.text[self.body.start_byte : self.body.end_byte]

    @cached_property
    def head(self) -> str:
        """The source from the first qualifier to the body."""
        head = self.facts.text[self.node.start_byte : self.body.start_byte]
        return head.decode("utf-8", "replace")


def is_broken(node: Node) -> bool:
    """Whether a tree holds something that the grammar did not read."""
    stack = [node] if node.has_error else []
    while stack:
        node = stack.pop()
        if node.is_error or (node.is_missing and node.type != ";"):
            return True
        stack += [child for child in node.children if child.has_error or child.is_missing]
    return False


@cache
def _definitions() -> Query:
    pattern = "(function_definition body: (compound_statement)) @function"
    query: Query = Query(language("cuda"), pattern)
    return query


def functions(facts: CudaFacts) -> list[Function]:
    """Every function of the file in source order, then those inside macros."""
    found = [
        function for node in captured(facts.root) if (function := _function(node, facts, None))
    ]
    for macro, tree in facts.macro_trees:
        for node in captured(tree.root_node):
            if function := _function(node, facts, macro):
                found.append(function)
    return found


def captured(root: Node) -> list[Node]:
    nodes = QueryCursor(_definitions()).captures(root).get("function", [])
    return sorted(nodes, key=lambda node: node.start_byte)


def _function(node: Node, facts: CudaFacts, macro: Macro | None) -> Function | None:
    declarator = node.child_by_field_name("declarator")
    body = node.child_by_field_name("body")
    while declarator is not None and declarator.type != "function_declarator":
        declarator = inner(declarator)
    if declarator is None or body is None:
        return None
    head = facts.text[node.start_byte : body.start_byte]
    if macro is not None and macro.span.start == node.start_byte:
        name, qualifiers = macro.name, frozenset[str]()
    else:
        name = _name(declarator)
        words = {word.decode() for word in _QUALIFIER.findall(head)}
        if any("DEVICE" in word for word in words):
            words.add("__device__")
        qualifiers = frozenset(words)
        if node.child_by_field_name("type") is None and not qualifiers and _in_body(node):
            return None  # a macro in front of a block: `FOR_EACH(i, n) { … }`
    types, values = _templates(node)
    return Function(name, node, body, declarator, qualifiers, types, values, macro, facts)


def _name(declarator: Node) -> str:
    name = declarator.child_by_field_name("declarator")
    return last_name((name.text or b"").decode("utf-8", "replace")) if name is not None else ""


def _in_body(node: Node) -> bool:
    parent = node.parent
    while parent is not None and parent.type != "compound_statement":
        parent = parent.parent
    return parent is not None


def _templates(node: Node) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the type parameters around a definition, and those of the value parameters."""
    types: set[str] = set()
    values: set[str] = set()
    parent = node.parent
    while parent is not None:
        if parent.type == "template_declaration":
            for parameter in parent.children_by_field_name("parameters"):
                for child in parameter.named_children:
                    words = re.findall(
                        r"\w+", (child.text or b"").decode("utf-8", "replace").split("=")[0]
                    )
                    if words:
                        (
                            types if child.type.endswith("type_parameter_declaration") else values
                        ).add(words[-1])
        parent = parent.parent
    return frozenset(types), frozenset(values)


def _parameters(function: Function) -> Iterator[Parameter]:
    listed = function.declarator.child_by_field_name("parameters")
    for node in listed.named_children if listed is not None else ():
        if node.type not in ("parameter_declaration", "optional_parameter_declaration"):
            continue
        declarator = node.child_by_field_name("declarator")
        name, sizes = declared(declarator)
        if not name:
            continue
        types = function.facts.types
        kind = types.of(spelled(node, declarator), function.templates)
        raw = function.facts.text[node.start_byte : node.end_byte].lower()
        yield Parameter(name, kind._replace(restrict=b"restrict" in raw), node, tuple(sizes))


def declared(declarator: Node | None) -> tuple[str, list[Node]]:
    """The name that a declarator declares, and the nodes of its array sizes, outermost first."""
    sizes: list[Node] = []
    while declarator is not None and declarator.type not in (
        "identifier",
        "field_identifier",
        "type_identifier",
    ):
        if declarator.type == "array_declarator":
            sizes.insert(0, declarator.child_by_field_name("size") or declarator)
        declarator = inner(declarator)
    if declarator is None:
        return "", sizes
    return (declarator.text or b"").decode("utf-8", "replace"), sizes


def macro_trees(facts: CudaFacts) -> Iterator[tuple[Macro, Tree]]:
    """The macros that hold kernels or launches, each parsed as code; offsets are the file's."""
    parser = Parser(language("cuda"))
    for macro in facts.macros.all():
        if not macro.is_code:
            continue
        text, end = _as_code(facts.text, macro)
        start = macro.span.start
        row = facts.source.row(start)
        column = start - facts.source.line_starts[row]
        first, last = (row, column), (facts.source.row(end - 1) + 1, 0)
        parser.included_ranges = [Range(first, last, start, end)]
        yield macro, parser.parse(text)


def _as_code(text: bytes, macro: Macro) -> tuple[bytes, int]:
    """The file with a macro's body as code; where no function stands in it, it becomes one."""
    start, end = macro.span
    at = macro.value.start
    body = text[at:end].replace(b"##", b"__").replace(b"\\\n", b" \n").replace(b"\\\r\n", b" \r\n")
    head = spaces(text[start:at])
    if "__global__" in macro.body:
        return text[:start] + head + body + text[end:], end
    head = _HEAD + head[len(_HEAD) :]
    return text[:start] + head + body + b";}" + text[end + 2 :], end + 2


__all__ = ["UNKNOWN", "Function", "Parameter", "functions", "is_broken", "macro_trees"]
