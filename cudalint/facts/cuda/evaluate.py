"""Expressions of device code as polynomials and pointers; what they touch is noted on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cudalint.facts.cuda.access import Access, Call, Geometry, Guard, Loop, Pointer, Value
from cudalint.facts.cuda.affine import (
    THREAD,
    ZERO,
    Atom,
    Atoms,
    Kind,
    Poly,
)
from cudalint.facts.cuda.fragments import expression, substituted
from cudalint.facts.cuda.macros import integer
from cudalint.facts.cuda.types import last_name
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda import CudaFacts
    from cudalint.facts.cuda.functions import Function

# Deeper expressions and longer chains of macros are some value.
DEPTH = 120
INLINED = 3

_SPECIAL = lazy_compile(r"(threadIdx|blockIdx|blockDim|gridDim)\.([xyz])\Z")


# The method that reads an expression, by the kind of its node.
_METHODS = {
    "assignment_expression": "_assignment",
    "binary_expression": "_binary",
    "call_expression": "_call",
    "cast_expression": "_cast",
    "comma_expression": "_comma",
    "conditional_expression": "_conditional",
    "condition_clause": "_inner",
    "false": "_identifier",
    "field_expression": "_field",
    "identifier": "_identifier",
    "lambda_expression": "_lambda",
    "number_literal": "_literal",
    "parenthesized_expression": "_inner",
    "pointer_expression": "_pointer_expression",
    "qualified_identifier": "_qualified",
    "sizeof_expression": "_qualified",
    "subscript_expression": "_subscript",
    "template_function": "_qualified",
    "true": "_identifier",
    "unary_expression": "_unary",
    "update_expression": "_update",
}


def short(text: str) -> str:
    """A text in one row of at most 40 characters, for messages."""
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:39] + "…"


def text_of(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


class Evaluator:
    """The state of reading one function: names, guards, loops, and what was noted."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.facts: CudaFacts = function.facts
        self.atoms = Atoms()
        self.accesses: list[Access] = []
        self.calls: list[Call] = []
        self.names: dict[str, Value] = {}
        self.geometry: dict[int, Geometry] = {}
        self.loops: list[Loop] = []
        self.guards: list[Guard] = []
        self.returned: list[Value] = []
        self._sites: list[Node] = []
        self._depth = 0
        self._inlined: list[str] = []

    # Values

    def unknown(self, key: object) -> Poly:
        return self.atoms.opaque(key, Kind.UNKNOWN)

    def number(self, node: Node | None) -> Poly:
        """The value of an expression as a number."""
        value = self.value(node)
        return value if isinstance(value, Poly) else self.unknown(("address", node and node.id))

    def value(self, node: Node | None) -> Value:
        """The value of an expression; what it loads, stores and calls is noted."""
        if node is None:
            return ZERO
        if self._depth > DEPTH:
            return self.unknown(("deep", node.id))
        self._depth += 1
        try:
            method: Callable[[Node], Value] = getattr(self, _METHODS.get(node.type, "_anything"))
            value = method(node)
        finally:
            self._depth -= 1
        if isinstance(value, Poly) and value.is_large:
            return self.atoms.operation("large", value)
        return value

    def _anything(self, node: Node) -> Value:
        for child in node.named_children:
            self.value(child)
        return self.unknown(("anything", node.id))

    def _inner(self, node: Node) -> Value:
        children = [child for child in node.named_children if child.type != "comment"]
        value: Value = ZERO
        for child in children:
            value = self.value(child)
        return value

    def _comma(self, node: Node) -> Value:
        self.value(node.child_by_field_name("left"))
        return self.value(node.child_by_field_name("right"))

    def _qualified(self, node: Node) -> Value:
        """`Traits::kSize`, `sizeof(T)`: the same for every thread."""
        return Poly.of(Atom(text_of(node), Kind.UNIFORM))

    def _literal(self, node: Node) -> Value:
        number = integer(text_of(node))
        if number is not None:
            return Poly.of(number)
        return Poly.of(Atom(text_of(node), Kind.UNIFORM))

    def _identifier(self, node: Node) -> Value:
        name = text_of(node)
        known = self.names.get(name)
        if known is None:
            return self._free(name)
        if isinstance(known, Pointer) and known.slot:
            return self.load(known._replace(slot=False), node)
        return known

    def _free(self, name: str) -> Value:
        """A name that the function does not declare: a constant, a macro, a template's value."""
        if name in ("true", "false"):
            return Poly.of(int(name == "true"))
        constant = self.facts.constant(name)
        if constant is not None:
            return Poly.of(constant)
        macro = self.facts.macros.get(name)
        if macro is not None and macro.parameters is None and macro.body and len(macro.body) < 200:
            expanded = self.expand(name, macro.body)
            if expanded is not None:
                return expanded
        return Poly.of(Atom(name, Kind.UNIFORM))

    def _field(self, node: Node) -> Value:
        text = text_of(node)
        if match := _SPECIAL.match(text):
            if match.group(1) == "threadIdx":
                return Poly.of(THREAD[match.group(2)])
            return Poly.of(Atom(text, Kind.UNIFORM))
        argument = node.child_by_field_name("argument")
        if argument is not None and argument.type not in ("identifier", "this", "field_expression"):
            value = self.value(argument)
            kind = value.kind_of_result if isinstance(value, Poly) else Kind.UNKNOWN
            return self.atoms.opaque(("field", node.id), kind)
        root = text.split(".")[0].split("->")[0]
        known = self.names.get(root)
        if isinstance(known, Poly) and known.kind > Kind.UNIFORM:
            return self.atoms.opaque(("field", text), Kind.UNKNOWN)
        if isinstance(known, Pointer) and argument is not None and argument.type == "identifier":
            return self.load(known._replace(slot=False, offset=known.offset), node)
        return self._member(root, text) or Poly.of(Atom(text, Kind.UNIFORM))

    def _member(self, root: str, text: str) -> Pointer | None:
        """`p.x` where a structure of the file, which the kernel is given, declares `float* x`."""
        if not self.function.is_kernel or not text.startswith(f"{root}."):
            return None
        for parameter in self.function.parameters:
            if parameter.name == root and not parameter.is_pointer and not parameter.type.lanes:
                name = text[len(root) + 1 :]
                holder = last_name(parameter.type.name).split()[-1:]
                declared = self.facts.types.member("".join(holder), name)
                made = self.facts.types.of(declared, self.function.templates) if declared else None
                return Pointer(text, "global", ZERO, made) if made and made.pointer else None
        return None

    # Operators

    def _binary(self, node: Node) -> Value:
        operator = text_of(node.child_by_field_name("operator") or node)
        left = self.value(node.child_by_field_name("left"))
        right = self.value(node.child_by_field_name("right"))
        return self.combine(operator, left, right, node)

    def combine(self, operator: str, left: Value, right: Value, node: Node) -> Value:
        """`left operator right`, for numbers and for a pointer and a number."""
        if isinstance(left, Pointer) and isinstance(right, Poly) and operator in "+-":
            return self.moved(left, right if operator == "+" else -right)
        if isinstance(right, Pointer) and isinstance(left, Poly) and operator == "+":
            return self.moved(right, left)
        if not isinstance(left, Poly) or not isinstance(right, Poly):
            return self.unknown(("binary", node.id))
        if operator == "+":
            return left + right
        if operator == "-":
            return left - right
        if operator == "*":
            product = len(left.terms) * len(right.terms)
            return left * right if product <= 40 else self.atoms.operation("*", left, right)
        return self._bits(operator, left, right)

    def _bits(self, operator: str, left: Poly, right: Poly) -> Poly:
        if operator == "/":
            return self.atoms.divide(left, right)
        if operator == "%":
            return self.atoms.remainder(left, right)
        number = right.constant
        if number is not None and 0 <= number < 64:
            if operator == "<<":
                return left * Poly.of(1 << number)
            if operator == ">>":
                return self.atoms.divide(left, Poly.of(1 << number))
        if operator == "&" and number is not None and number > 0 and number & (number + 1) == 0:
            return self.atoms.remainder(left, Poly.of(number + 1))
        return self.atoms.operation(operator, left, right)

    def moved(self, pointer: Pointer, by: Poly) -> Pointer:
        for size in pointer.sizes[1:]:
            by = by * size
        return pointer._replace(offset=pointer.offset + by)

    def _unary(self, node: Node) -> Value:
        operator = text_of(node.children[0])
        argument = self.number(node.child_by_field_name("argument"))
        if operator == "-":
            return -argument
        return argument if operator == "+" else self.atoms.operation(operator, argument)

    def _conditional(self, node: Node) -> Value:
        condition = self.number(node.child_by_field_name("condition"))
        first = self.value(node.child_by_field_name("consequence"))
        second = self.value(node.child_by_field_name("alternative"))
        return self.joined(first, second, condition.kind_of_result, node)

    def joined(self, first: Value, second: Value, test: Kind, key: object) -> Value:
        """One of two values: the same, or some value that is alike where both and the test are."""
        if first == second:
            return first
        if isinstance(first, Poly) and isinstance(second, Poly):
            kind = max(first.kind_of_result, second.kind_of_result, test)
            return self.atoms.opaque(("joined", key, first, second), kind)
        if isinstance(first, Pointer) and isinstance(second, Pointer):
            base = first.base if first.base == second.base else f"{first.base}|{second.base}"
            space = first.space if first.space == second.space else "unknown"
            kind = max(first.offset.kind, second.offset.kind, test, Kind.UNIFORM)
            offset = self.atoms.opaque(("joined", key), max(kind, Kind.UNKNOWN))
            if first.offset == second.offset:
                offset = first.offset
            return first._replace(base=base, space=space, offset=offset)
        return self.unknown(("joined", key))

    def _cast(self, node: Node) -> Value:
        kind = node.child_by_field_name("type")
        return self.cast(kind, self.value(node.child_by_field_name("value")))

    def cast(self, kind: Node | None, value: Value) -> Value:
        """A pointer to another type; numbers stay what they are."""
        if kind is None or not isinstance(value, Pointer):
            if kind is not None and "*" in text_of(kind) and isinstance(value, Poly):
                made = self.facts.types.of(text_of(kind), self.function.templates)
                return Pointer(repr(value), self._space_of(value), ZERO, made)
            return value
        if "*" not in text_of(kind):
            return value
        made = self.facts.types.of(text_of(kind), self.function.templates)
        same = made.name == value.type.name and made.lanes == value.type.lanes
        offset = value.offset
        if not same and offset.terms and (made.size is None or made.size != value.type.size):
            offset = self.atoms.operation("cast", offset)
        return value._replace(type=made._replace(pointer=made.pointer), offset=offset, sizes=())

    def _space_of(self, value: Poly) -> str:
        """An address in a structure that a kernel is given points to global memory."""
        root = repr(value).split(".")[0]
        known = self.names.get(root)
        if not self.function.is_kernel or not isinstance(known, Poly):
            return "unknown"
        return "global" if known == Poly.of(Atom(root, Kind.UNIFORM)) else "unknown"

    # Macros; places are read in cudalint.facts.cuda.places, calls in cudalint.facts.cuda.calls

    def expand(self, name: str, text: str) -> Value | None:
        """The value of a macro's text."""
        if len(self._inlined) >= INLINED or name in self._inlined:
            return None
        node = expression(text)
        if node is None:
            return None
        self._inlined.append(name)
        try:
            return self.value(node)
        finally:
            self._inlined.pop()

    def expanded_call(self, node: Node) -> Node | None:
        """The expression that a call of a macro of the file stands for."""
        callee = node.child_by_field_name("function")
        if callee is None or callee.type != "identifier":
            return None
        macro = self.facts.macros.get(text_of(callee))
        if macro is None or macro.parameters is None or len(macro.body) > 400:
            return None
        texts = [text_of(argument) for argument in arguments_of(node)]
        if len(texts) != len(macro.parameters) or len(self._sites) > INLINED:
            return None
        return expression(substituted(macro.body, macro.parameters, texts))

    def load(self, element: Pointer, node: Node) -> Value:
        """The value at an element: see cudalint.facts.cuda.places."""
        raise NotImplementedError


def arguments_of(node: Node) -> list[Node]:
    """The arguments of a call."""
    listed = node.child_by_field_name("arguments")
    return [c for c in listed.named_children if c.type != "comment"] if listed is not None else []
