"""What must hold before an element-wise body may run on vectors, proven statement by statement.

Each proof gives the clause that a refusal shows, or nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.cuda.affine import ALL_THREADS, GLOBAL_RANK, Atom, Kind, Poly
from cudalint.facts.cuda.elementwise import (
    Elementwise,
    below,
    element,
    element_nodes,
    form_of,
    names_declared,
)
from cudalint.facts.cuda.evaluate import short, text_of
from cudalint.facts.cuda.flow import calls_in
from cudalint.facts.flow import within
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.contiguous import Pattern
    from cudalint.facts.cuda.functions import Function

# What a body may not name: other threads, and what is shared with them.
_OTHERS = lazy_compile(
    rb"\b(?:threadIdx|blockIdx|blockDim|gridDim|__shared__|asm|goto|__sync\w*|__shfl\w*|__any\w*"
    rb"|__all\w*|__ballot\w*|atomic\w*|this_thread_block|this_grid|thread_rank|__threadfence\w*"
    rb"|assert|printf|clock\w*|cuda\w+|curand\w*|static|new|delete)\b"
)
_PURE = lazy_compile(
    r"(?:__)?(?:h2?|f)?(?:exp(?:2|10|m1)?|log(?:2|10|1p)?|r?sqrt|cbrt|pow|powi|a?(?:sin|cos|tan)h?|sincos|atan2"
    r"|abs|fabs|fma|fmod|remainder|floor|ceil|round|rint|nearbyint|trunc|lrint|erf|erfc|erfinv|min|max"
    r"|copysign|clamp|isnan|isinf|isfinite|hypot|add|sub|mul|div|neg|saturate|fdividef|frcp|tgamma"
    r"|lgamma|normcdf|sign|sgn)(?:f|l)?(?:_r[nzud]|_sat|_nan)?\Z"
    r"|f(?:ma|mul|add|sub|div|max|min)f?\Z|__(?:f|d|h|i|u|half|float|double|int|uint|bfloat16|low|high)\w*2\w+\Z"
    r"|__\w+2(?:half|float|bfloat16|int|uint|short|char)\w*\Z|__(?:int|float|uint|double)_as_\w+\Z|__popc\w*\Z|__clz\w*\Z|__h\w+\Z"
    r"|(?:static|const|reinterpret|c10::convert)_cast\Z|bit_cast\Z"
)
_BRANCHES = ("if_statement", "conditional_expression", "for_statement", "while_statement")
_INTEGERS = frozenset(
    [
        "char",
        "int8_t",
        "uint8_t",
        "bool",
        "uchar",
        "u8",
        "i8",
        "short",
        "int16_t",
        "uint16_t",
        "ushort",
        "int",
        "unsigned",
        "int32_t",
        "uint32_t",
        "uint",
        "u32",
        "i32",
        "long",
        "int64_t",
        "uint64_t",
        "size_t",
    ]
)
_CONSTRUCTORS = lazy_compile(
    r"(?:float|double|half|__half|int|unsigned|char|bool|long|short|[A-Z]\w?|\w+_t|[A-Z]\w*Type|\w*[sS]calar\w*|[DT]type|BFloat16|Half|__nv_bfloat16|__float2\w+)\Z"
)


def elementwise(kernel: Function, found: Pattern) -> Elementwise | str:
    """The parts of an element-wise kernel, or why it is not proven to be one."""
    if kernel.macro is not None:
        return "the kernel stands in a macro"
    parts = form_of(kernel)
    if isinstance(parts, str):
        return parts
    reason = (
        _wrong_accesses(kernel, parts, found)
        or _wrong_text(kernel, parts)
        or _wrong_statements(kernel, parts)
        or _wrong_order(kernel, parts)
        or _unsure_rounding(kernel, parts)
    )
    return reason or parts


def _wrong_accesses(kernel: Function, parts: Elementwise, found: Pattern) -> str:
    at = GLOBAL_RANK
    if parts.strided:
        at = at + Poly.of(Atom(f"turn@{parts.statement.start_byte}", Kind.UNIFORM)) * ALL_THREADS
    arrays = {parameter.name for parameter in kernel.parameters if parameter.is_pointer}
    for access in found.dense:
        if access.inlined:
            return "an access stands in a macro or a helper"
        if "." in access.pointer.base:
            return f"`{access.pointer.base}` is a member of a structure"
        if access.pointer.offset != at or access.pointer.base not in arrays:
            return f"`{short(kernel.facts.code(access.node))}` is not at the thread's own index"
        if element(access.node, access.pointer.base, parts.index) is None:
            return f"`{short(kernel.facts.code(access.node))}` is no plain element"
        if not any(within(access.node, node) for node in parts.body):
            return "an element is accessed outside the loop or bound check"
    mentioned = _mentions(parts, {access.pointer.base for access in found.dense})
    for name in sorted({access.pointer.base for access in found.dense}):
        elements = [node for node, base in element_nodes(parts, {name})]
        if len(elements) != mentioned[name]:
            return f"`{name}` is used as more than the element at the index"
        if not any(_is_certain(node, parts) for node in elements) and not _in_both_arms(
            elements, parts
        ):
            return f"`{name}` is accessed only under a condition"
    stored = {access.pointer.base for access in found.dense if access.stores}
    for access in found.neutral:
        if access.stores or access.pointer.base in stored:
            return f"`{short(kernel.facts.code(access.node))}` reaches other elements"
    if not stored:
        return "the kernel stores no element: it is a reduction"
    return ""


def _mentions(parts: Elementwise, names: set[str]) -> Counter[str]:
    """How often the body names each array."""
    return Counter(
        text_of(node)
        for node in below(parts.body)
        if node.type == "identifier" and text_of(node) in names
    )


def _is_certain(node: Node, parts: Elementwise) -> bool:
    """Whether an access runs for every element: a pointer that may be null is read under a
    condition, and a vector load would not ask."""
    inner, parent = node, node.parent
    while parent is not None and not any(inner == one for one in parts.body):
        if parent.type in ("for_statement", "while_statement", "case_statement"):
            return False
        choice = parent.type in ("if_statement", "conditional_expression")
        if choice and inner != parent.child_by_field_name("condition"):
            return False
        operator = parent.child_by_field_name("operator")
        short_cut = operator is not None and text_of(operator) in ("&&", "||")
        if short_cut and inner == parent.child_by_field_name("right"):
            return False
        inner, parent = parent, parent.parent
    jumps = ("return_statement", "continue_statement")
    return not any(
        one.type in jumps and one.start_byte < node.start_byte for one in below(parts.body)
    )


def _in_both_arms(elements: list[Node], parts: Elementwise) -> bool:
    """Whether both arms of an `if` or of a ternary access the element."""
    arms: dict[int, set[bool]] = {}
    for node in elements:
        inner, parent = node, node.parent
        while parent is not None and parent.type not in _BRANCHES:
            inner, parent = parent, parent.parent
        if parent is not None and parent.type in ("if_statement", "conditional_expression"):
            taken = inner == parent.child_by_field_name("consequence")
            other = inner == parent.child_by_field_name("alternative")
            if (taken or other) and _is_certain(parent, parts):
                arms.setdefault(parent.id, set()).add(taken)
    return any(len(both) == 2 for both in arms.values())


def _wrong_text(kernel: Function, parts: Elementwise) -> str:
    text = kernel.facts.text
    start = min((node.start_byte for node in parts.before), default=parts.statement.start_byte)
    if b"#" in text[start : kernel.body.end_byte]:
        return "a preprocessor directive stands in the kernel"
    for node in parts.body:
        match = _OTHERS.search(text, node.start_byte, node.end_byte)
        if match is not None:
            return f"the body uses `{match.group().decode()}`"
    if re.search(r"[^\w\s.:>*+()\[\]/-]|\+\+|--", parts.count.replace("->", ".")):
        return "the number of elements is no plain expression"
    return ""


def _wrong_statements(kernel: Function, parts: Elementwise) -> str:
    known = {parts.index, *(one.name for one in kernel.parameters)}
    outer = known | {name for node in parts.before for name in names_declared(node)}
    inside: set[str] = set()
    for node in below(parts.body):
        if node.type == "declaration":
            inside.update(names_declared(node))
        elif node.type in ("assignment_expression", "update_expression"):
            target = node.child_by_field_name("left") or node.child_by_field_name("argument")
            if target is not None and target.type == "identifier":
                name = text_of(target)
                if name not in inside and name in outer:
                    return f"the body changes `{name}`, which outlives an element"
        elif node.type == "pointer_expression" and node.children[0].type == "*":
            return "the body follows a pointer"
        elif node.type in ("break_statement", "return_statement") and _leaves(node, parts):
            return "the body leaves the loop"
        elif node.type in ("lambda_expression", "switch_statement", "do_statement"):
            return f"the body holds a {node.type.split('_')[0]}"
        elif node.type == "call_expression" and (reason := _wrong_call(kernel, node)):
            return reason
    if inside & outer:
        return "a name of the body hides one outside"
    dependent = [n for n in parts.before if _uses(n, parts.index) and not _declares(n, parts.index)]
    if dependent:
        return "a value above the bound check depends on the index"
    return ""


def _leaves(node: Node, parts: Elementwise) -> bool:
    """Whether a `break` or `return` ends more than its element."""
    parent = node.parent
    while parent is not None and parent != parts.statement:
        if node.type == "break_statement" and parent.type in ("for_statement", "while_statement"):
            return False
        parent = parent.parent
    return parts.strided


def _wrong_call(kernel: Function, node: Node) -> str:
    facts = kernel.facts
    for name, call in calls_in([node]):
        callee = call.child_by_field_name("function")
        if name in ("__ldg",) or _PURE.match(name) or _CONSTRUCTORS.match(name):
            return ""
        if callee is not None and callee.type in ("primitive_type", "sized_type_specifier"):
            return ""
        if name in kernel.templates:
            return ""
        macro = facts.macros.get(name)
        if macro is not None:
            return "" if _OTHERS.search(macro.body.encode()) is None else f"`{name}` is not pure"
        helpers = [one for one in facts.by_name.get(name, ()) if one.is_device]
        if helpers and all(_is_pure(helper) for helper in helpers):
            return ""
        return f"`{name}` is not known to compute an element alone"
    return "a call is not understood"


def _is_pure(helper: Function, depth: int = 0) -> bool:
    """Whether a device function of the file names no other thread and touches no memory."""
    if _OTHERS.search(helper.text) is not None or depth > 3:
        return False
    if any(parameter.is_pointer for parameter in helper.parameters):
        return False
    for node in below((helper.body,)):
        if node.type != "call_expression":
            continue
        for name, call in calls_in([node]):
            callee = call.child_by_field_name("function")
            primitive = callee is not None and callee.type == "primitive_type"
            known = _PURE.match(name) or _CONSTRUCTORS.match(name) or primitive
            others = [one for one in helper.facts.by_name.get(name, ()) if one is not helper]
            if not known and not (others and all(_is_pure(one, depth + 1) for one in others)):
                return False
    return True


def _wrong_order(kernel: Function, parts: Elementwise) -> str:
    """Arrays may be the same: what is read must be read before another array is written."""
    free = {one.name for one in kernel.parameters if one.type.restrict}
    arrays = {one.name for one in kernel.parameters if one.is_pointer}
    stores = list(_stores(parts))
    for load in _loads(parts, arrays):
        name = text_of(load)
        for stored, node in stores:
            after = load.start_byte > node.end_byte or _in_loop(node, parts)
            if stored == name or not after or {stored, name} <= free or _exclude(node, load):
                continue
            return f"`{name}` is read after `{stored}` is written, and may be the same array"
    return ""


def _stores(parts: Elementwise) -> Iterator[tuple[str, Node]]:
    for node in below(parts.body):
        if node.type in ("assignment_expression", "update_expression"):
            target = node.child_by_field_name("left") or node.child_by_field_name("argument")
            if target is not None and target.type == "subscript_expression":
                yield text_of(target).split("[")[0].strip(), node


def _exclude(one: Node, other: Node) -> bool:
    """Whether two nodes stand in the two arms of an `if`."""
    parent = one.parent
    while parent is not None and not within(other, parent):
        parent = parent.parent
    if parent is None or parent.type != "if_statement":
        return False
    return not any(
        part is not None and within(one, part) and within(other, part)
        for part in (
            parent.child_by_field_name("consequence"),
            parent.child_by_field_name("alternative"),
        )
    )


def _in_loop(node: Node, parts: Elementwise) -> bool:
    parent = node.parent
    while parent is not None and parent != parts.statement:
        if parent.type in ("for_statement", "while_statement"):
            return True
        parent = parent.parent
    return False


def _loads(parts: Elementwise, arrays: set[str]) -> Iterator[Node]:
    for node in below(parts.body):
        if node.type == "identifier" and text_of(node) in arrays:
            parent = node.parent
            subscript = parent if parent is not None else node
            target = subscript.parent
            plain = (
                target is not None
                and target.type == "assignment_expression"
                and target.child_by_field_name("left") == subscript
                and text_of(target.child_by_field_name("operator") or target) == "="
            )
            if not plain:
                yield node


def _unsure_rounding(kernel: Function, parts: Elementwise) -> str:
    """A sum of two products: the compiler fuses one of them into the addition, and which one
    depends on the code around."""
    types = {one.type.name for one in kernel.parameters if one.is_pointer}
    if types <= _INTEGERS:
        return ""
    functions = [kernel]
    names = {name for name, _ in calls_in(below(parts.body))}
    functions += [one for name in names for one in kernel.facts.by_name.get(name, ())]
    for function in functions:
        nodes = parts.body if function is kernel else (function.body,)
        products = {
            text_of(node.child_by_field_name("declarator") or node)
            for node in below(nodes)
            if node.type == "init_declarator" and _is_product(node.child_by_field_name("value"))
        }
        for node in below(nodes):
            operator = node.child_by_field_name("operator")
            if operator is None or text_of(operator) not in ("+", "-"):
                continue
            sides = [node.child_by_field_name("left"), node.child_by_field_name("right")]
            if all(_is_product(side, products) for side in sides):
                shown = short(text_of(node))
                return f"`{shown}` may be rounded either way, depending on which product is fused"
    return ""


def _is_product(node: Node | None, names: set[str] | frozenset[str] = frozenset()) -> bool:
    while node is not None and node.type in ("parenthesized_expression", "unary_expression"):
        node = node.named_children[-1] if node.named_children else None
    if node is None:
        return False
    if node.type == "identifier":
        return text_of(node) in names
    operator = node.child_by_field_name("operator")
    return node.type == "binary_expression" and operator is not None and text_of(operator) == "*"


def _uses(node: Node, name: str) -> bool:
    return any(one.type == "identifier" and text_of(one) == name for one in below((node,)))


def _declares(node: Node, name: str) -> bool:
    return name in names_declared(node)
