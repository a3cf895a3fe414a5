"""Calls in device code: casts, cached loads, atomics, cooperative groups, macros and helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.cuda.access import Call, Geometry, Lambda, Pointer, Value
from cudalint.facts.cuda.affine import (
    ALL_THREADS,
    BLOCK,
    BLOCK_SIZE,
    GLOBAL_RANK,
    ONE,
    RANK,
    ZERO,
    Kind,
    Poly,
)
from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.places import Places
from cudalint.facts.cuda.types import last_name
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

_CASTS = frozenset({"static_cast", "reinterpret_cast", "const_cast", "bit_cast"})
_NUMBER_CASTS = frozenset(
    [
        "int",
        "unsigned",
        "float",
        "double",
        "size_t",
        "int64_t",
        "int32_t",
        "uint32_t",
        "uint64_t",
        "long",
        "char",
        "bool",
        "short",
        "half",
        "__half",
        "float2int",
        "int2float",
    ]
)
# Pure functions: alike where their arguments are.
_PURE = lazy_compile(
    r"(?:std::|::|c10::cuda::compat::)?(?:f?(?:max|min)f?|abs|fabsf?|sqrtf?|rsqrtf?|expf?|exp2f?|logf?"
    r"|powf?|tanhf?|erff?|sinf?|cosf?|floorf?|ceilf?|roundf?|fmaf?|__\w+2\w+|__\w+_rn|__expf|__logf"
    r"|make_\w+|__cvta\w+|ceil_div|CEIL_DIV|cdiv|DIVUP|divup)\Z"
)
_CACHED = lazy_compile(r"__ld(?:cs|cg|ca|cv|lu)|(?:\w*_)?(?:ldg|LDG)")
_CACHED_STORES = frozenset({"__stcs", "__stcg", "__stwb", "__stwt"})


# Sizes that a host object tells, the same each time.
_SIZES = frozenset(["numel", "size", "length", "count", "size_bytes"])
_CEILING = lazy_compile(r"(?i)\w*(?:ceil_?div|cdiv|div_?up|div_?round_?up|divide_?up)\w*\Z")


class Calls(Places):
    """An evaluator that knows calls."""

    def _call(self, node: Node) -> Value:
        callee = node.child_by_field_name("function")
        arguments = arguments_of(node)
        if callee is None:
            return self._anything(node)
        syntax = next((one for one in node.children if one.type == "kernel_call_syntax"), None)
        if syntax is not None:
            return self._launch(node, syntax, arguments)
        name = text_of(callee)
        last = last_name(name)
        if last in _CASTS and len(arguments) == 1:
            kind = first_of(callee, "type_descriptor")
            return self.cast(kind, self.value(arguments[0]))
        if callee.type == "primitive_type" or (last in _NUMBER_CASTS and len(arguments) == 1):
            return self.value(arguments[0]) if len(arguments) == 1 else self._anything(node)
        if _CACHED.fullmatch(last) and arguments:
            return self._cached(node, arguments)
        if callee.type == "field_expression":
            return self._method(node, callee, arguments)
        expanded = self.expanded_call(node)
        if expanded is not None:
            self._sites.append(node)
            value = self.value(expanded)
            self._sites.pop()
            return value
        known = self.names.get(name)
        if isinstance(known, Lambda):
            return self.inline_lambda(known, node, arguments)
        return self._function(node, last, arguments)

    def _launch(self, node: Node, syntax: Node, arguments: list[Node]) -> Value:
        listed = [one for one in syntax.named_children if one.type != "comment"]
        configuration = tuple(self.value(one) for one in listed)
        values = tuple(self.value(one) for one in arguments)
        self.geometry[node.start_byte] = Geometry(configuration, values)
        return ZERO

    def _cached(self, node: Node, arguments: list[Node]) -> Value:
        element = self._pointee(self.value(arguments[0]), ZERO, node)
        return self.load(element, node) if element is not None else self.unknown(("ldg", node.id))

    def _function(self, node: Node, name: str, arguments: list[Node]) -> Value:
        values = [self.value(argument) for argument in arguments]
        if name in _CACHED_STORES and values and isinstance(values[0], Pointer):
            self.note(values[0], node, stores=True)
            return ZERO
        if name.startswith(("atomic", "gpuAtomic", "fastAtomic", "fastSpecialized")):
            if values and isinstance(values[0], Pointer):
                self.note(values[0], node, loads=True, stores=True, atomic=True)
            return self.unknown(("atomic", node.id))
        inlined = self.inline(name, node, arguments, values)
        if inlined is not None:
            return inlined
        self.note_call(node, name, values)
        self._forget_outputs(arguments)
        numbers = [value for value in values if isinstance(value, Poly)]
        if _CEILING.match(name) and len(numbers) == len(values) == 2:
            return self.atoms.divide(numbers[0] + numbers[1] - ONE, numbers[1])
        if name == "dim3" and len(numbers) == len(values) and values:
            ones = all(number.constant == 1 for number in numbers[1:])
            return numbers[0] if ones else self.unknown(("dim3", node.id))
        if _PURE.match(name) and len(numbers) == len(values):
            return self.atoms.operation(name, *numbers)
        return self.unknown(("call", node.id))

    def note_call(self, node: Node, name: str, values: list[Value]) -> None:
        where = self._sites[0] if self._sites else node
        inlined = bool(self._sites)
        loops, guards = tuple(self.loops), tuple(self.guards)
        self.calls.append(Call(where, name, tuple(values), loops, guards, inlined))

    def _forget_outputs(self, arguments: list[Node]) -> None:
        """What is passed by address may be written."""
        for argument in arguments:
            if argument.type == "pointer_expression" and argument.children[0].type == "&":
                name = text_of(argument).lstrip("& ")
                if isinstance(self.names.get(name), Poly):
                    self.names[name] = self.unknown(("output", argument.id))

    def _method(self, node: Node, callee: Node, arguments: list[Node]) -> Value:
        """Calls of members: the ranks of cooperative groups, and anything."""
        values = [self.value(argument) for argument in arguments]
        field = text_of(callee.child_by_field_name("field") or callee)
        owner = text_of(callee.child_by_field_name("argument") or callee)
        self.note_call(node, field, values)
        if field in _SIZES and not self.function.is_device and not self.function.is_kernel:
            return self.atoms.opaque(("size", text_of(node)), Kind.UNIFORM)
        size = self.facts.group_size(self.function, owner)
        if size is None:
            return self.unknown(("method", node.id))
        return self._rank(field, size, node)

    def _rank(self, field: str, size: int | str, node: Node) -> Value:
        if size == "grid":
            return {
                "thread_rank": GLOBAL_RANK,
                "size": ALL_THREADS,
                "num_threads": ALL_THREADS,
            }.get(field, self.unknown(("rank", node.id)))
        if size == "block":
            return {"thread_rank": RANK, "size": BLOCK_SIZE, "num_threads": BLOCK_SIZE}.get(
                field, BLOCK if field == "group_index" else self.unknown(("rank", node.id))
            )
        lanes = Poly.of(int(size))
        if field == "thread_rank":
            return self.atoms.remainder(RANK, lanes)
        if field == "meta_group_rank":
            return self.atoms.divide(RANK, lanes)
        if field in ("size", "num_threads"):
            return lanes
        if field == "meta_group_size":
            return self.atoms.divide(BLOCK_SIZE, lanes)
        return self.unknown(("rank", node.id))

    def inline(
        self, name: str, node: Node, arguments: list[Node], values: list[Value]
    ) -> Value | None:
        raise NotImplementedError

    def inline_lambda(self, known: Lambda, node: Node, arguments: list[Node]) -> Value:
        raise NotImplementedError


def first_of(node: Node, kind: str) -> Node | None:
    """The first node of a kind inside a node."""
    stack = [node]
    while stack:
        node = stack.pop()
        if node.type == kind:
            return node
        stack += reversed(node.named_children)
    return None
