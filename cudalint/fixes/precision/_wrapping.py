"""Puts statements into a `with` block; LibCST does the indenting, strings and comments included."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.model import Edit, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    import libcst as cst
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


def wrapped(statements: tuple[Node, ...], header: str, facts: PythonFacts) -> Edit:
    """The edit that puts neighbouring statements of one block under `with HEADER:`."""
    from cudalint.cst import libcst as cst

    start = facts.text.rfind(b"\n", 0, statements[0].start_byte) + 1
    end = facts.text.find(b"\n", statements[-1].end_byte) + 1 or len(facts.text)
    rows = facts.text[start:end].decode()
    newline = "\r\n" if "\r\n" in rows else "\n"
    if not rows.startswith((" ", "\t")):
        module = cst.parse_module(rows)
        body = [_under(module.body, module.footer, header, facts)]
        return Edit(Span(start, end), module.with_changes(body=body, footer=()).code.encode())
    # a block around them lets rows with a margin be a module of their own
    module = cst.parse_module(f"if True:{newline}{rows}")
    holder = cst.ensure_type(module.body[0], cst.If)
    block = cst.ensure_type(holder.body, cst.IndentedBlock)
    body = [_under(block.body, block.footer, header, facts)]
    made = holder.with_changes(body=block.with_changes(body=body, footer=()))
    text = module.with_changes(body=[made]).code.partition("\n")[2]
    return Edit(Span(start, end), text.encode())


def _under(
    statements: Sequence[cst.CSTNode],
    footer: Sequence[cst.EmptyLine],
    header: str,
    facts: PythonFacts,
) -> cst.With:
    """A `with` statement around statements; what stands above the first one stays above it."""
    from cudalint.cst import libcst as cst

    body = [
        one.with_changes(leading_lines=[_bare(line) for line in one.leading_lines])
        for one in statements
        if isinstance(one, (cst.SimpleStatementLine, cst.BaseCompoundStatement))
    ]
    first = body[0].with_changes(leading_lines=())
    block = cst.IndentedBlock(body=[first, *body[1:]], indent=_unit(facts), footer=footer)
    items = [cst.WithItem(cst.parse_expression(header))]
    return cst.With(items=items, body=block, leading_lines=body[0].leading_lines)


def _bare(line: cst.EmptyLine) -> cst.EmptyLine:
    """An empty row stays empty wherever it is moved."""
    return line if line.comment else line.with_changes(indent=False)


def _unit(facts: PythonFacts) -> str:
    """One step of the file's indentation."""
    match = re.search(rb"^([ \t]+)\S", facts.text, re.MULTILINE)
    found = match[1].decode() if match else "    "
    return found if set(found) in ({" "}, {"\t"}) and len(found) <= 8 else "    "
