"""The edits of a fusion fix: the result becomes a call, what only led to it goes, comments stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cudalint.facts.graph.render import names_of
from cudalint.model import Edit, Span

if TYPE_CHECKING:
    import libcst
    from tree_sitter import Node

    from cudalint.facts.graph.consume import Consumption
    from cudalint.facts.python import PythonFacts

_WIDTH = 100
_HEAD = "if x:\n"  # makes an indented run of statements a module of its own
_END = "cudalint_end"  # and stands for the statement that follows them


def call(facts: PythonFacts, node: Node, name: str, given: Sequence[str], tail: str = "") -> str:
    """A call in a node's place: on one line where it fits, else its arguments on their own."""
    text = f"{name}({', '.join(given)}){tail}"
    start = facts.text.rfind(b"\n", 0, node.start_byte) + 1
    before = facts.text[start : node.start_byte].decode()
    after = facts.text[node.end_byte :].split(b"\n", 1)[0].partition(b"#")[0].rstrip()
    if len(before) + len(text) + len(after) <= _WIDTH or "\n" in text:
        return text
    indent = before[: len(before) - len(before.lstrip())]
    newline = "\r\n" if facts.text[:start].endswith(b"\r\n") else "\n"
    inner = f"{newline}{indent}    "
    joined = ", ".join(given)
    if len(indent) + 4 + len(joined) > _WIDTH:
        joined = f",{inner}".join(given) + ","
    return f"{name}({inner}{joined}{newline}{indent}){tail}"


def replaced(facts: PythonFacts, found: Consumption, text: str) -> tuple[Edit, ...]:
    """The edits that put `text` in the result's place and delete what it consumed."""
    node, whole = found.expression, text if found.target is None else f"{found.target} = {text}"
    parent = node.parent
    if parent is not None and parent.type == "parenthesized_expression":
        node = parent  # a call needs none
        while node.parent is not None and node.parent.type == "parenthesized_expression":
            node = node.parent
    edits = [Edit(Span(node.start_byte, node.end_byte), whole.encode())]
    if found.outermost:
        edits.insert(0, without(facts, found))
    return tuple(edits)


def freed(facts: PythonFacts, found: Consumption) -> frozenset[str]:
    """The imported names that the replaced code used, and that may be unused without it."""
    imports = facts.names.module.bindings
    nodes = [found.expression, *found.outermost]
    used = {name for node in nodes for name in names_of(facts, node)}
    return frozenset(name for name in used if name in imports and imports[name][0].kind == "import")


def without(facts: PythonFacts, found: Consumption) -> Edit:
    """Delete statements from the run of lines that ends before the result's statement."""
    first = found.outermost[0]
    while first.parent is not None and first.parent != found.home:
        first = first.parent
    start = facts.text.rfind(b"\n", 0, first.start_byte) + 1
    end = facts.text.rfind(b"\n", 0, found.statement.start_byte) + 1
    text = facts.text[start:end].decode()
    indent = facts.text[end : found.statement.start_byte].decode()
    top = facts.source.row(start)
    places = {
        (facts.source.row(node.start_byte) - top + 2, _column(facts, node))
        for node in found.outermost
    }
    return Edit(Span(start, end), _deleted(text, indent, places).encode())


def _column(facts: PythonFacts, node: Node) -> int:
    return facts.source.position(node.start_byte).column - 1


def _deleted(text: str, indent: str, places: set[tuple[int, int]]) -> str:
    """The run without the statements that start at these places; their comments stay."""
    from cudalint.cst import libcst as cst
    from cudalint.cst import metadata

    newline = "\r\n" if "\r\n" in text else "\n"
    wrapper = metadata.MetadataWrapper(
        cst.parse_module(_HEAD.replace("\n", newline) + text + indent + _END)
    )
    positions = wrapper.resolve(metadata.PositionProvider)

    class Delete(cst.CSTTransformer):
        def leave_IndentedBlock(
            self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
        ) -> cst.IndentedBlock:
            gone = [
                (positions[node].start.line, positions[node].start.column) in places
                for node in original_node.body
            ]
            return _kept(updated_node, gone) if any(gone) else updated_node

    changed = wrapper.visit(Delete())
    return changed.code.partition("\n")[2].rpartition(indent + _END)[0]


def _kept(block: libcst.IndentedBlock, gone: Sequence[bool]) -> libcst.IndentedBlock:
    """A block without some statements; the comments of each go to what follows it."""
    from cudalint.cst import libcst as cst

    body: list[cst.BaseStatement] = []
    held: list[cst.EmptyLine] = []
    for statement, goes in zip(block.body, gone, strict=True):
        if goes:
            held.extend(_comments(statement))
        else:
            lines = [*held, *statement.leading_lines]  # type: ignore[attr-defined]
            body.append(statement.with_changes(leading_lines=_thinned(lines, not body)))
            held = []
    footer = [*held, *block.footer]
    return block.with_changes(body=body, footer=_thinned(footer, False) if held else footer)


def _comments(statement: libcst.BaseStatement) -> list[libcst.EmptyLine]:
    """Every comment in a statement, as lines of their own, and the blank line before it."""
    from cudalint.cst import libcst as cst

    found: list[cst.EmptyLine] = []

    class Collect(cst.CSTVisitor):
        def visit_Comment(self, node: cst.Comment) -> None:
            found.append(cst.EmptyLine(comment=node, newline=cst.Newline()))

    blank = [line for line in statement.leading_lines if line.comment is None][:1]  # type: ignore[attr-defined]
    statement.visit(Collect())
    return [*blank, *found]


def _thinned(lines: Sequence[libcst.EmptyLine], first: bool) -> list[libcst.EmptyLine]:
    """At most one blank line in a row, none at the head of a block; no comment twice."""
    kept: list[libcst.EmptyLine] = []
    for line in lines:
        blank, last = line.comment is None, kept[-1] if kept else None
        if blank and ((last is not None and last.comment is None) or (first and not kept)):
            continue
        if last is not None and not blank and _text(line) == _text(last):
            continue
        kept.append(line)
    return kept


def _text(line: libcst.EmptyLine) -> str | None:
    return None if line.comment is None else line.comment.value
