"""The body of an element-wise kernel, run by `cudalint::for_each` on whole vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.cuda import CudaFacts
from cudalint.facts.cuda.elementwise import (
    Elementwise,
    Operand,
    below,
    element_nodes,
    operands,
)
from cudalint.facts.cuda.functions import Function
from cudalint.facts.cuda.geometry import covers, is_divided, launches_of
from cudalint.facts.cuda.layout import newline, row_indent
from cudalint.facts.cuda.proofs import elementwise
from cudalint.model import Edit, Finding, Need, Patch, Plan, Refusal, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.launches import Launch

_HEADER = Need("<cudalint/vector.cuh>", "")


def plan(finding: Finding, facts: CudaFacts) -> Plan | Refusal:
    kernel: Function = finding.captures["kernel"]
    parts = elementwise(kernel, finding.captures["pattern"])
    if isinstance(parts, str):
        return Refusal(parts)
    if len(facts.by_name.get(kernel.name, ())) > 1:
        return Refusal(f"`{kernel.name}` is overloaded or specialised")
    launches = launches_of(kernel)
    if not launches:
        return Refusal("no launch is in sight, and vectors need fewer blocks to pay")
    for launch in launches:
        row = facts.source.row(launch.node.start_byte) + 1
        if launch.function is None or launch.function.macro is not None or launch.grid is None:
            return Refusal(f"the launch in line {row} stands in a macro")
        if not parts.strided and not covers(launch, kernel, parts.count):
            return Refusal(f"the grid in line {row} is not known to cover all elements")
        if _may_be_structures(launch, facts):
            return Refusal(f"the launch in line {row} may have elements that are no numbers")
        if is_divided(launch) and _types(kernel, parts, launch) is None:
            return Refusal(f"the element type of the launch in line {row} is not spelled out")
    data = {"kernel": kernel, "parts": parts, "launches": launches}
    return Plan("unsafe", "Move whole vectors with `cudalint::for_each`", finding, facts, data)


def write(plan: Plan) -> Patch:
    kernel: Function = plan.data["kernel"]
    parts: Elementwise = plan.data["parts"]
    arrays = operands(kernel, parts)
    names = {one.name: _fresh(f"{one.name}_{parts.index}", kernel) for one in arrays}
    edits = [
        Edit(Span(node.start_byte, node.end_byte), names[base].encode())
        for node, base in element_nodes(parts, set(names))
    ]
    edits += _continues(parts)
    edits += _removals(kernel, parts, edits)
    edits += _frame(kernel, parts, arrays, names, edits)
    edits += _grids(plan)
    return Patch(_merged(edits), needs=frozenset({_HEADER}))


def _types(kernel: Function, parts: Elementwise, launch: Launch) -> list[str] | None:
    """The element types of a launch: a template's parameters as the launch spells them."""
    found = []
    for one in operands(kernel, parts):
        name = one.type
        if name in kernel.templates:
            order = re.findall(r"(?:typename|class)\s+(\w+)", _template_head(kernel))
            at = order.index(name) if name in order else -1
            if not 0 <= at < len(launch.templates):
                return None
            name = launch.templates[at]
        found.append(name)
    return list(dict.fromkeys(found))


def _may_be_structures(launch: Launch, facts: CudaFacts) -> bool:
    """Whether a template's parameter is a structure of the file, here or where the function
    around the launch is called."""
    spelled = list(launch.templates)
    function = launch.function
    if function is not None and function.templates:
        calls = re.finditer(rf"\b{re.escape(function.name)}\s*<([^<>;(]*)>".encode(), facts.text)
        spelled += [name for call in calls for name in call.group(1).decode().split(",")]
    names = {one.strip().encode() for one in spelled if one.strip().isidentifier()}
    return any(
        re.search(rb"\b(?:struct|class)\b[^;{}]*\b" + name + rb"\s*\{", facts.text)
        or re.search(rb"\}\s*" + name + rb"\s*;", facts.text)
        for name in names
    )


def _template_head(kernel: Function) -> str:
    """The parameters of the template that a kernel is; mixed with values, their order is lost."""
    parent = kernel.node.parent
    if parent is None or parent.type != "template_declaration" or kernel.values:
        return ""
    return (parent.text or b"")[: kernel.node.start_byte - parent.start_byte].decode()


def _grids(plan: Plan) -> Iterator[Edit]:
    """Fewer blocks for each launch that has a thread for every element."""
    for launch in plan.data["launches"]:
        if launch.grid is None or not is_divided(launch):
            continue
        types = ", ".join(_types(plan.data["kernel"], plan.data["parts"], launch) or [])
        span = Span(launch.grid.start_byte, launch.grid.end_byte)
        old = plan.facts.text[span.start : span.end]
        yield Edit(span, f"cudalint::vector_grid<{types}>(".encode() + old + b")")


def _fresh(name: str, kernel: Function) -> str:
    """A name that the kernel does not use."""
    text = kernel.facts.text[kernel.node.start_byte : kernel.node.end_byte]
    while re.search(rb"\b" + name.encode() + rb"\b", text) is not None:
        name += "_"
    return name


def _continues(parts: Elementwise) -> list[Edit]:
    """What went on with the next element returns from the lambda."""
    found = []
    for node in below(parts.body):
        if node.type == "continue_statement" and _is_of_loop(node, parts.statement):
            found.append(Edit(Span(node.start_byte, node.end_byte), b"return;"))
    return found


def _is_of_loop(node: Node, loop: Node) -> bool:
    parent = node.parent
    while parent is not None and parent.type not in (
        "for_statement",
        "while_statement",
        "do_statement",
    ):
        parent = parent.parent
    return parent == loop


def _removals(kernel: Function, parts: Elementwise, replaced: list[Edit]) -> list[Edit]:
    """Declarations that only the index needed, with their rows."""
    text = kernel.facts.text
    gone: list[Node] = []
    kept = list(parts.before)
    while True:
        used = _names_used(kept, parts, replaced, text)
        unused = [node for node in kept if _is_free(node) and not _binds(node) & used]
        if not unused:
            return [Edit(_row(text, node), b"") for node in gone]
        gone += unused
        kept = [node for node in kept if node not in unused]


def _names_used(
    kept: list[Node], parts: Elementwise, replaced: list[Edit], text: bytes
) -> set[str]:
    """The names that the body, the bound and the declarations that stay still use."""
    used = set(re.findall(r"[A-Za-z_]\w*", parts.count))
    spans = [edit.span for edit in replaced]
    for node in below(parts.body):
        inside = any(a <= node.start_byte and node.end_byte <= b for a, b in spans)
        if node.type == "identifier" and not inside:
            used.add(text[node.start_byte : node.end_byte].decode())
    used.discard(parts.index)
    for node in kept:
        own = _binds(node)
        used |= {
            text[one.start_byte : one.end_byte].decode()
            for one in below((node,))
            if one.type == "identifier"
        } - own
    return used


def _is_free(node: Node) -> bool:
    """Whether a declaration has no effect but its names."""
    return not any(one.type in ("call_expression", "update_expression") for one in below((node,)))


def _binds(node: Node) -> set[str]:
    found: set[str] = set()
    for declarator in node.children_by_field_name("declarator"):
        plain = declarator.child_by_field_name("declarator") or declarator
        while plain.child_by_field_name("declarator") is not None:
            plain = plain.child_by_field_name("declarator") or plain
        found.add((plain.text or b"").decode())
    return found


def _row(text: bytes, node: Node) -> Span:
    """A statement with its row, or alone where the row holds more."""
    start = text.rfind(b"\n", 0, node.start_byte) + 1
    end = text.find(b"\n", node.end_byte)
    alone = not text[start : node.start_byte].strip() and re.fullmatch(
        rb"[ \t]*(?://[^\n]*)?\r?", text[node.end_byte : end]
    )
    if alone is None or end < 0 or not alone:
        return Span(node.start_byte, node.end_byte)
    blank = re.compile(rb"[ \t]*\r?\n").match(text, end + 1)
    above = text[:start].rstrip(b" \t")
    if blank is not None and (above.endswith((b"{\n", b"{\r\n", b"\n\n"))):
        end = blank.end() - 1
    return Span(start, end + 1)


def _frame(
    kernel: Function,
    parts: Elementwise,
    arrays: list[Operand],
    names: dict[str, str],
    edits: list[Edit],
) -> Iterator[Edit]:
    """The call around the body, in place of the loop or the bound check."""
    text = kernel.facts.text
    indent = row_indent(text, parts.statement.start_byte)
    head = _head(parts, arrays, names, _uses_index(parts, edits, text))
    tail = b"}, " + ", ".join(_operand(one) for one in arrays).encode() + b");"
    line = newline(text)
    if parts.early:
        yield Edit(Span(parts.statement.start_byte, parts.statement.end_byte), head)
        yield from _indented(parts, text)
        close = text.rfind(b"\n", 0, kernel.body.end_byte - 1)
        if text[close + 1 : kernel.body.end_byte - 1].strip():
            yield Edit(
                Span(kernel.body.end_byte - 1, kernel.body.end_byte - 1),
                line + indent + tail + line,
            )
        else:
            yield Edit(Span(close, close), line + indent + tail)
        return
    body = parts.statement.child_by_field_name("body") or parts.statement.child_by_field_name(
        "consequence"
    )
    assert body is not None
    if body.type == "compound_statement":
        opening, closing = body.children[0], body.children[-1]
        yield Edit(Span(parts.statement.start_byte, opening.end_byte), head)
        inside = text[opening.end_byte : closing.start_byte]
        if b"\n" in inside:
            yield Edit(Span(closing.start_byte, closing.end_byte), tail)
            return
        blanks = len(inside) - len(inside.lstrip())
        room = Span(opening.end_byte, opening.end_byte + blanks)
        yield Edit(room, line + indent + b"    ")
        end = opening.end_byte + len(inside.rstrip())
        yield Edit(Span(end, closing.end_byte), line + indent + tail)
        return
    inner = row_indent(text, body.start_byte)
    own_row = text.rfind(b"\n", 0, body.start_byte) > parts.statement.start_byte
    lead = inner if own_row else indent + b"    "
    yield Edit(Span(parts.statement.start_byte, body.start_byte), head + line + lead)
    yield Edit(Span(body.end_byte, body.end_byte), line + indent + tail)


def _head(parts: Elementwise, arrays: list[Operand], names: dict[str, str], indexed: bool) -> bytes:
    count = parts.count
    parameters = [f"{parts.index_type} {parts.index}"] if indexed else []
    parameters += [f"{one.type}{'&' if one.stores else ''} {names[one.name]}" for one in arrays]
    function = "for_each_indexed" if indexed else "for_each"
    return f"cudalint::{function}({count}, [=]({', '.join(parameters)}) {{".encode()


def _operand(one: Operand) -> str:
    kind = "inout" if one.loads and one.stores else "out" if one.stores else "in"
    return f"cudalint::{kind}({one.name})"


def _uses_index(parts: Elementwise, edits: list[Edit], text: bytes) -> bool:
    """Whether the body names the index in anything but its elements."""
    spans = [edit.span for edit in edits]
    return any(
        node.type == "identifier"
        and text[node.start_byte : node.end_byte].decode() == parts.index
        and not any(a <= node.start_byte and node.end_byte <= b for a, b in spans)
        for node in below(parts.body)
    )


def _indented(parts: Elementwise, text: bytes) -> Iterator[Edit]:
    """The rows behind an early return, one level further in."""
    if not parts.body:
        return
    at = text.find(b"\n", parts.statement.end_byte) + 1
    end = parts.body[-1].end_byte
    while 0 < at < end:
        if text[at : at + 1] not in (b"\n", b"\r"):
            yield Edit(Span(at, at), b"    ")
        at = text.find(b"\n", at) + 1


def _merged(edits: list[Edit]) -> tuple[Edit, ...]:
    """The edits in order; a row's indentation that falls on an edit goes in front of it."""
    held: dict[int, Edit] = {}
    for edit in sorted(edits):
        other = held.get(edit.span.start)
        if other is None:
            held[edit.span.start] = edit
        else:
            span = Span(edit.span.start, max(edit.span.end, other.span.end))
            held[edit.span.start] = Edit(span, other.content + edit.content)
    return tuple(held.values())
