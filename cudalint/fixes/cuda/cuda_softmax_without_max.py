"""A pass for the maximum of the row, and its subtraction, where one thread walks the row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.functions import Function
from cudalint.facts.cuda.layout import newline, row_indent
from cudalint.facts.cuda.rows import Row, row_of
from cudalint.model import Edit, Finding, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

_NAME = "max_value"


def plan(finding: Finding, facts: CudaFacts) -> Plan | Refusal:
    row = row_of(finding.captures["softmax"])
    if isinstance(row, str):
        return Refusal(row)
    return Plan("safe", "Subtract the row's maximum", finding, facts, {"row": row})


def write(plan: Plan) -> Patch:
    row: Row = plan.data["row"]
    name = _fresh(plan.finding.captures["softmax"].function)
    edits = [_pass(plan, row, name)]
    for one in row.exponentials:
        span = Span(one.exponent.start_byte, one.exponent.end_byte)
        inner = plan.facts.text[span.start : span.end]
        edits.append(Edit(span, _bracketed(one.exponent, inner) + b" - " + name.encode()))
    return Patch(tuple(edits))


def _fresh(function: Function) -> str:
    name = _NAME
    while re.search(rb"\b" + name.encode() + rb"\b", function.text):
        name += "_"
    return name


def _bracketed(node: Node, text: bytes) -> bytes:
    loose = node.type in ("conditional_expression", "assignment_expression", "comma_expression")
    return b"(" + text + b")" if loose else text


def _pass(plan: Plan, row: Row, name: str) -> Edit:
    """The loop that finds the maximum, above the first loop over the row."""
    text, loop = plan.facts.text, row.first.loop
    head = text[loop.start_byte : _head_end(loop)].decode("utf-8", "replace")
    indent = row_indent(text, loop.start_byte).decode()
    step = _indent_step(text, loop)
    lines = [
        f"{row.type} {name} = -INFINITY;",
        " ".join(head.split()) + " {",
        f"{step}{name} = {row.larger}({name}, {row.exponent});",
        "}",
    ]
    line = newline(text).decode()
    at = _before_pragmas(text, loop.start_byte)
    block = "".join(indent + one + line for one in lines)
    return Edit(Span(at, at), block.encode())


def _indent_step(text: bytes, loop: Node) -> str:
    """How far the body of a loop is indented."""
    body = loop.child_by_field_name("body")
    first = body.named_children[0] if body is not None and body.named_children else body
    if first is None or first.type == "comment":
        return "    "
    outer, inner = row_indent(text, loop.start_byte), row_indent(text, first.start_byte)
    deeper = inner.removeprefix(outer)
    return deeper.decode() if inner.startswith(outer) and deeper else "    "


def _head_end(loop: Node) -> int:
    closing = [child for child in loop.children if child.type == ")"]
    return closing[-1].end_byte


def _before_pragmas(text: bytes, at: int) -> int:
    """The start of the row of a loop, or of the first pragma above it."""
    start = text.rfind(b"\n", 0, at) + 1
    while True:
        above = text.rfind(b"\n", 0, start - 1) + 1 if start else 0
        if start == 0 or not text[above:start].lstrip().startswith(b"#pragma"):
            return start
        start = above
