"""Element-wise kernels by their form: one loop or one bound check over the elements.

What is proven of their bodies stands in cudalint.facts.cuda.proofs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.cuda.affine import ALL_THREADS, GLOBAL_RANK
from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.functions import declared
from cudalint.facts.flow import within
from cudalint.lazy import lazy_compile
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.functions import Function

_ENCLOSED = lazy_compile(r"\([^()]*\)")


@record(frozen=True)
class Elementwise:
    """A kernel's one loop or guard over its elements, and what stands around it.

    `statement` is the loop or the `if`; `body` what runs for an element, as nodes; `early` is true
    for `if (i >= n) return;`. `count` is how many elements there are; `before` the declarations
    above.
    """

    index: str
    index_type: str
    count: str
    statement: Node
    body: tuple[Node, ...]
    early: bool
    strided: bool
    before: tuple[Node, ...]


class Operand(NamedTuple):
    """An array that a body accesses: the parameter's element type as it is spelled, and how."""

    name: str
    type: str
    loads: bool
    stores: bool


def form_of(kernel: Function) -> Elementwise | str:
    """The loop or the bound check of a kernel, or why it has none that is understood."""
    statements = [node for node in kernel.body.named_children if node.type != "comment"]
    before: list[Node] = []
    while statements and statements[0].type == "declaration":
        before.append(statements.pop(0))
    if not statements:
        return "the kernel has no loop and no bound check"
    first = statements[0]
    if first.type == "if_statement":
        found = _guard(kernel, first, statements[1:], before)
    elif len(statements) > 1:
        found = "the kernel does more than one pass over its elements"
    elif first.type in ("for_statement", "while_statement"):
        found = _loop(kernel, first, before)
    else:
        found = "the elements are not guarded by a bound check"
    return found


def _guard(kernel: Function, node: Node, rest: list[Node], before: list[Node]) -> Elementwise | str:
    test = _comparison(node.child_by_field_name("condition"))
    body = node.child_by_field_name("consequence")
    if test is None or body is None or node.child_by_field_name("alternative") is not None:
        return "the bound check is no plain comparison"
    name, operator, count = test
    early = operator == ">="
    if early:
        if _block(body) is None or [one.type for one in _block(body) or ()] != ["return_statement"]:
            return "the bound check does not return"
    elif rest:
        return "statements follow the bound check"
    inside = tuple(rest) if early else tuple(_block(body) or ())
    kind = _declared_type(name, before)
    if kind is None:
        return "the index is not declared above the bound check"
    return _made(kernel, (name, kind, text_of(count)), node, inside, early, False, before)


def _loop(kernel: Function, node: Node, before: list[Node]) -> Elementwise | str:
    values = kernel.facts.values(kernel)
    loops = {access.loops[0] for access in values.accesses if access.loops}
    loop = next((one for one in loops if one.node == node), None)
    body = node.child_by_field_name("body")
    if loop is None or body is None or loop.first is None or loop.bound is None:
        return "the loop is not understood"
    if loop.first != GLOBAL_RANK or loop.step != ALL_THREADS:
        return "the loop does not walk the array in strides of the whole grid"
    head = values.head(node)
    test = _comparison(head.child_by_field_name("condition"))
    initial = head.child_by_field_name("initializer")
    if test is None or test[1] != "<" or initial is None or initial.type != "declaration":
        return "the loop's head is no plain comparison"
    kind = _declared_type(test[0], [initial])
    if kind is None:
        return "the loop's variable is not declared in its head"
    inside = tuple(_block(body) or ())
    return _made(kernel, (test[0], kind, text_of(test[2])), node, inside, False, True, before)


def _made(
    kernel: Function,
    index: tuple[str, str, str],
    node: Node,
    body: tuple[Node, ...],
    early: bool,
    strided: bool,
    before: list[Node],
) -> Elementwise:
    name, kind, count = index
    count = count[1:-1] if _ENCLOSED.fullmatch(count) else count
    return Elementwise(name, kind, count, node, body, early, strided, tuple(before))


def _block(body: Node) -> list[Node] | None:
    """The statements of a block, or the one statement that stands without braces."""
    if body.type != "compound_statement":
        return [body]
    return [node for node in body.named_children if node.type != "comment"]


def _comparison(node: Node | None) -> tuple[str, str, Node] | None:
    """`i < n` or `i >= n`, also written the other way round, as name, operator and bound."""
    while node is not None and node.type in ("condition_clause", "parenthesized_expression"):
        node = node.named_children[-1] if node.named_children else None
    if node is None or node.type != "binary_expression":
        return None
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    operator = text_of(node.child_by_field_name("operator") or node)
    if left is None or right is None:
        return None
    if operator in (">", "<="):
        left, right, operator = right, left, "<" if operator == ">" else ">="
    if left.type != "identifier" or operator not in ("<", ">="):
        return None
    return text_of(left), operator, right


def _declared_type(name: str, declarations: list[Node]) -> str | None:
    """The type of the one variable that a declaration declares."""
    for node in declarations:
        declarators = node.children_by_field_name("declarator")
        kind = node.child_by_field_name("type")
        for declarator in declarators:
            plain = declarator.child_by_field_name("declarator") or declarator
            if declared(plain)[0] == name and kind is not None:
                return text_of(kind) if len(declarators) == 1 else None
    return None


def element(node: Node, base: str, index: str) -> Node | None:
    """The expression of an access to `base[index]`, the whole `__ldg(&base[index])` included."""
    spelled = re.sub(r"\s+", "", text_of(node))
    plain = f"{base}[{index}]"
    cached = {f"__ldg(&{plain})", f"__ldg({base}+{index})", f"__ldg(&({plain}))"}
    if spelled == plain or spelled in cached:
        return node
    return None


def below(nodes: tuple[Node, ...]) -> Iterator[Node]:
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        yield node
        stack += reversed(node.named_children)


def names_declared(node: Node) -> list[str]:
    names = []
    for declarator in node.children_by_field_name("declarator"):
        plain = declarator.child_by_field_name("declarator")
        has_value = declarator.child_by_field_name("value") is not None
        names.append(declared(plain if has_value else declarator)[0])
    return names


def element_nodes(parts: Elementwise, arrays: set[str]) -> Iterator[tuple[Node, str]]:
    """The expressions in the body that are an element, `__ldg(&x[i])` as a whole, with the array."""
    taken: list[Node] = []
    for node in below(parts.body):
        if node.type not in ("subscript_expression", "call_expression"):
            continue
        if any(within(node, outer) for outer in taken):
            continue
        names = arguments_of(node) if node.type == "call_expression" else [node]
        base = re.match(r"[&(\s]*(\w+)", text_of(names[0])) if names else None
        name = base.group(1) if base is not None else ""
        if name in arrays and element(node, name, parts.index) is not None:
            taken.append(node)
            yield node, name


def operands(kernel: Function, parts: Elementwise) -> list[Operand]:
    """The arrays that the body accesses, in the order of the kernel's parameters."""
    loads: set[str] = set()
    stores: set[str] = set()
    arrays = {one.name for one in kernel.parameters if one.is_pointer}
    for node, name in element_nodes(parts, arrays):
        parent = node.parent
        kind = parent.type if parent is not None else ""
        written = kind == "update_expression" or (
            kind == "assignment_expression"
            and parent is not None
            and parent.child_by_field_name("left") == node
        )
        operator = parent.child_by_field_name("operator") if parent is not None else None
        if written:
            stores.add(name)
        if not written or operator is None or text_of(operator) != "=":
            loads.add(name)
    found = []
    for parameter in kernel.parameters:
        if parameter.name in loads | stores:
            kind_node = parameter.node.child_by_field_name("type")
            kind = text_of(kind_node) if kind_node is not None else "auto"
            name = parameter.name
            found.append(Operand(name, kind, name in loads, name in stores))
    return found
