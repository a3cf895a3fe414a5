"""Softmaxes of which one thread walks the whole row, so that a maximum can be taken first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.flow import Flow, names_in, place_name
from cudalint.facts.cuda.functions import Function, declared
from cudalint.facts.flow import within
from cudalint.lazy import lazy_compile
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.softmax import Softmax

_PLAIN_EXP = lazy_compile(r"(?:std::|::)?(?:__)?exp(?:2|10)?f?\Z")
_PURE_CALL = lazy_compile(
    r"__ldg\Z|(?:static_cast<)?float|__half2float\Z|__bfloat162float\Z|to_float\Z"
)


class Exponential(NamedTuple):
    """An exponential, what it raises to, and the loop over the row that it stands in."""

    node: Node
    exponent: Node
    loop: Node


@record(frozen=True)
class Row:
    """A row that one thread walks: its exponentials, the first of them, the first one's exponent
    in terms of its loop's variable, the type of the exponent and the function that takes the
    larger of two."""

    exponentials: tuple[Exponential, ...]
    first: Exponential
    exponent: str
    type: str
    larger: str


def row_of(found: Softmax) -> Row | str:
    """The row of a softmax, or why one thread is not known to walk it."""
    flow = Flow(found.function)
    rows = list(_exponentials(found))
    reason = _unknown_rows(found, rows) or _unknown_total(found, flow) or _unknown_uses(found, flow)
    if reason:
        return reason
    first = min(rows, key=lambda row: row.loop.start_byte)
    text = _in_terms_of_loop(first, first.loop, flow)
    if text is None or _is_made_in_loop(first, text, flow):
        return "the exponent is not an expression of the loop's variable"
    numbers = _number_type(first, found.function, flow)
    if numbers is None:
        return "the type of the exponent is not known"
    return Row(tuple(rows), first, text, *numbers)


def _exponentials(found: Softmax) -> Iterator[Exponential]:
    for node in found.exponentials:
        arguments = arguments_of(node)
        loop = _row_loop(node)
        if len(arguments) == 1 and loop is not None:
            yield Exponential(node, arguments[0], loop)


def _row_loop(node: Node) -> Node | None:
    """The innermost `for` around a node."""
    parent = node.parent
    while parent is not None and parent.type != "for_statement":
        if parent.type in ("function_definition", "lambda_expression", "while_statement"):
            return None
        parent = parent.parent
    return parent


def _unknown_rows(found: Softmax, rows: list[Exponential]) -> str:
    if len(rows) != len(found.exponentials):
        return "the loop over the row is not in sight"
    for row in rows:
        callee = row.node.child_by_field_name("function")
        if callee is None or not _PLAIN_EXP.match(text_of(callee)):
            return "the exponential is in a helper or of a vector"
    first = min(rows, key=lambda row: row.loop.start_byte)
    heads = {_renamed(_head(row.loop), _variable(row.loop)) for row in rows}
    if len(heads) > 1:
        return "the exponentials stand in loops over different rows"
    if not _is_block(first.loop.parent):
        return "the loop over the row stands without braces in another statement"
    return ""


def _head(loop: Node) -> str:
    parts = (loop.child_by_field_name(one) for one in ("initializer", "condition", "update"))
    text = "; ".join(text_of(part).rstrip(";") if part is not None else "" for part in parts)
    update = text.rsplit("; ", 1)[1]
    variable = _variable(loop)
    if update in (f"{variable}++", f"++{variable}", f"{variable} += 1"):
        text = text.rsplit("; ", 1)[0] + f"; ++{variable}"
    return " ".join(text.split())


def _variable(loop: Node) -> str:
    initializer = loop.child_by_field_name("initializer")
    if initializer is None or initializer.type != "declaration":
        return ""
    declarators = initializer.children_by_field_name("declarator")
    if len(declarators) != 1:
        return ""
    plain = declarators[0].child_by_field_name("declarator") or declarators[0]
    return declared(plain)[0]


def _renamed(text: str, name: str) -> str:
    return re.sub(rf"\b{re.escape(name)}\b", "@", text) if name else text


def _is_block(node: Node | None) -> bool:
    return node is not None and node.type == "compound_statement"


def _unknown_total(found: Softmax, flow: Flow) -> str:
    """The sum must be this thread's own: then any number may be subtracted from its exponents."""
    name = found.total
    if flow.root(name) != name or not name:
        return "the sum is not a local variable"
    definitions = flow.definitions.get(name, [])
    if not definitions or any(one.operator not in ("=", "+=") for one in definitions):
        return "the sum is not a local variable"
    for one in definitions:
        left = one.node.child_by_field_name("left")
        plain = left is None or left.type == "identifier"
        zero = one.operator == "+=" or re.fullmatch(
            r"[(]?(?:\w+\()?0(?:\.0*)?[fF]?[)]*", text_of(one.value)
        )
        if not plain or not zero:
            return "the sum is shared by several threads"
    shared = re.compile(rb"__shared__[^;]*\b" + name.encode() + rb"\b")
    if shared.search(found.function.text) or any(p.name == name for p in found.function.parameters):
        return "the sum is shared by several threads"
    return ""


def _unknown_uses(found: Softmax, flow: Flow) -> str:
    """Whether the sum or an exponential goes anywhere but into this softmax."""
    for node in flow.nodes:
        is_total = node.type == "identifier" and text_of(node) == found.total
        if is_total and not (_is_definition(node) or _is_divisor(node, found, flow)):
            return "the sum is used elsewhere"
    arrays = {one.name for one in found.function.parameters if one.is_pointer}
    for name in sorted(_holders(found, flow) & arrays):
        stores = [one for one in flow.definitions.get(name, ())]
        stores += [
            one
            for pointer, array in flow.pointers.items()
            if array == name
            for one in flow.definitions.get(pointer, ())
        ]
        whole = all(
            any(within(division, one.value) for division in _divisions(found, flow))
            for one in stores
            if one.operator == "="
        )
        if not whole and not _is_normalised(name, found, flow):
            return f"`{name}` keeps the exponentials"
    return ""


def _is_definition(node: Node) -> bool:
    parent = node.parent
    if parent is None:
        return False
    if parent.type == "init_declarator":
        return True
    return parent.type == "assignment_expression" and parent.child_by_field_name("left") == node


def _is_divisor(node: Node, found: Softmax, flow: Flow) -> bool:
    parent = node.parent
    while parent is not None and parent.type in ("parenthesized_expression", "cast_expression"):
        node, parent = parent, parent.parent
    if parent is None or parent.child_by_field_name("right") != node:
        return False
    operator = text_of(parent.child_by_field_name("operator") or parent)
    above = parent.child_by_field_name("left")
    if operator not in ("/", "/=") or above is None:
        return False
    return _is_exponential(above, found, flow)


def _is_exponential(node: Node, found: Softmax, flow: Flow) -> bool:
    if any(within(one, node) for one in found.exponentials):
        return True
    held = _holders(found, flow)
    names = {flow.root(name) for name in names_in(node)} or {flow.root(place_name(node))}
    weighted = {
        flow.root(definition.name)
        for definitions in flow.definitions.values()
        for definition in definitions
        if definition.operator == "+=" and held & {flow.root(n) for n in names_in(definition.value)}
    }
    return bool(names & (held | weighted))


def _holders(found: Softmax, flow: Flow) -> set[str]:
    """The names that hold an exponential of the softmax, directly or through another name."""
    held: set[str] = set()
    for _ in range(3):
        for definitions in flow.definitions.values():
            for one in definitions:
                direct = any(within(node, one.value) for node in found.exponentials)
                through = one.value.type == "identifier" and flow.root(text_of(one.value)) in held
                if one.operator == "=" and (direct or through):
                    held.add(flow.root(one.name))
    return held - {found.total}


def _divisions(found: Softmax, flow: Flow) -> list[Node]:
    return [
        node
        for node in flow.nodes
        if node.type in ("binary_expression", "assignment_expression")
        and text_of(node.child_by_field_name("operator") or node) in ("/", "/=")
        and (right := node.child_by_field_name("right")) is not None
        and text_of(right).strip("() ") == found.total
    ]


def _is_normalised(name: str, found: Softmax, flow: Flow) -> bool:
    """Whether an array that keeps exponentials is divided in place."""
    for node in _divisions(found, flow):
        left = node.child_by_field_name("left")
        if left is None or flow.root(place_name(left)) != flow.root(name):
            continue
        if node.type == "assignment_expression":
            return True
        parent = node.parent
        target = parent.child_by_field_name("left") if parent is not None else None
        if target is not None and text_of(target) == text_of(left):
            return True
    return False


def _in_terms_of_loop(row: Exponential, loop: Node, flow: Flow) -> str | None:
    """The exponent with the names that the loop's body declares put in, or None."""
    text = text_of(row.exponent)
    for _ in range(4):
        inner = {
            name: one
            for name, definitions in flow.definitions.items()
            for one in definitions
            if one.node.type == "init_declarator" and within(one.node, loop)
        }
        variable = _variable(loop)
        used = [name for name in _words(text) if name in inner and name != variable]
        if not used:
            return text if _is_pure(text) else None
        for name in used:
            value = inner[name].value
            if len(flow.definitions[name]) > 1:
                return None
            spelled = text_of(value) if text == name else _bracket_text(value)
            text = re.sub(rf"\b{name}\b", spelled, text)
    return None


def _is_made_in_loop(row: Exponential, text: str, flow: Flow) -> bool:
    """Whether the loop writes what the exponent is made of before it is taken: a pass above the
    loop would read something else."""
    names = {flow.root(name) for name in _words(text)}
    return any(
        flow.root(name) in names
        and within(one.node, row.loop)
        and one.node.start_byte < row.node.start_byte
        and one.node.type != "init_declarator"
        and not within(row.node, one.node)
        for name, definitions in flow.definitions.items()
        for one in definitions
    )


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"[A-Za-z_]\w*", text)))


def _bracket_text(node: Node) -> str:
    text = text_of(node)
    plain = node.type in ("identifier", "subscript_expression", "call_expression", "number_literal")
    return text if plain else f"({text})"


def _is_pure(text: str) -> bool:
    if "=" in text or "++" in text or "--" in text:
        return False
    return all(_PURE_CALL.match(name) for name in re.findall(r"([A-Za-z_][\w:<>]*)\s*\(", text))


def _number_type(row: Exponential, function: Function, flow: Flow) -> tuple[str, str] | None:
    """The type of the exponent, and the function that takes the larger of two."""
    kinds = set()
    for name in {flow.root(name) for name in names_in(row.exponent)}:
        for parameter in function.parameters:
            if parameter.name == name:
                kinds.add(parameter.type.name)
    names = {text_of(one) for one in _calls(row.exponent)}
    callee = text_of(row.node.child_by_field_name("function") or row.node)
    if callee.endswith("f") or (kinds & {"float"} and not kinds - {"float", "int", "unsigned"}):
        return ("float", "fmaxf")
    if kinds == {"double"} and not names:
        return ("double", "fmax")
    for node in names_in(row.exponent):
        for one in flow.definitions.get(node, ()):
            declaration = one.node.parent
            kind = declaration.child_by_field_name("type") if declaration is not None else None
            if kind is not None and text_of(kind) in ("float", "double"):
                return ("float", "fmaxf") if text_of(kind) == "float" else ("double", "fmax")
    return None


def _calls(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        node = stack.pop()
        if node.type == "call_expression":
            yield node
        stack += node.named_children
