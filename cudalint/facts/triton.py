"""Triton: the kernels of a file, what their calls compute, and where values come from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.flow import walk, within
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_LANGUAGE = "triton.language."
_JIT = {"triton.jit", "triton.runtime.jit", "triton.runtime.jit.jit", "triton.experimental.jit"}
_JIT_NAMES = {"jit", "triton_jit", "jit_wrapper"}
# Members of a tensor that are the function of the same name with the tensor first.
_MEMBERS = frozenset(
    """abs advance argmax argmin associative_scan cast cdiv ceil cos cumprod cumsum exp exp2
    expand_dims floor histogram log log2 logical_and logical_or max min permute ravel reduce reshape
    rsqrt sigmoid sin softmax sort split sqrt sqrt_rn sum to trans umulhi view xor_sum
    broadcast_to""".split()  # noqa: SIM905
)
_LIMIT = 4000


class Parameter(NamedTuple):
    """A kernel's parameter; `constexpr` ones are known when it is compiled."""

    name: str
    node: Node
    constexpr: bool
    default: Node | None


@record(frozen=True, eq=False)
class Kernel:
    """A function that Triton compiles, launched or called by another one."""

    node: Node
    name: str
    parameters: tuple[Parameter, ...]
    decorators: tuple[Node, ...]

    @property
    def body(self) -> Node:
        body = self.node.child_by_field_name("body")
        return body if body is not None else self.node


class Operation(NamedTuple):
    """A call of Triton's language: its plain name ("exp" for `tl.math.exp` and `x.exp()`)."""

    name: str
    operands: tuple[Node, ...]
    keywords: dict[str, Node]
    node: Node

    def get(self, keyword: str, position: int) -> Node | None:
        """An argument by keyword or position; a member's tensor is at position 0."""
        if (value := self.keywords.get(keyword)) is not None:
            return value
        return self.operands[position] if position < len(self.operands) else None


class Triton:
    """What a file's Triton kernels are made of."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._operations: dict[int, Operation | None] = {}
        self._by_kernel: dict[int, list[Operation]] = {}
        self._roots: dict[int, frozenset[str]] = {}

    # -- kernels ------------------------------------------------------------------------------

    @cached_property
    def kernels(self) -> list[Kernel]:
        """Functions under a jit decorator, stacked ones included, and those given to `jit(f)`."""
        found: dict[int, Kernel] = {}
        for function, decorators in self._decorated():
            if any(self._is_jit(decorator) for decorator in decorators):
                found[function.id] = self._kernel(function, decorators)
        for function in self._called():
            found.setdefault(function.id, self._kernel(function, ()))
        return sorted(found.values(), key=lambda kernel: kernel.node.start_byte)

    def kernel_of(self, node: Node) -> Kernel | None:
        """The kernel that a node stands in."""
        return next((kernel for kernel in self.kernels if within(node, kernel.node)), None)

    def _decorated(self) -> Iterator[tuple[Node, tuple[Node, ...]]]:
        for name in self.facts.identifiers(*_JIT_NAMES):
            holder = name.parent
            while holder is not None and holder.type in ("attribute", "call", "decorator"):
                holder = holder.parent
            if holder is None or holder.type != "decorated_definition":
                continue
            function = holder.child_by_field_name("definition")
            marks = tuple(child for child in holder.children if child.type == "decorator")
            if function is not None and function.type == "function_definition":
                yield function, marks

    def _is_jit(self, decorator: Node) -> bool:
        at: Node | None = decorator.named_children[0] if decorator.named_children else None
        while at is not None and at.type == "call":
            at = at.child_by_field_name("function")
        if at is None:
            return False
        path = self.facts.names.qualified(at)
        if path is not None:
            last = path.rpartition(".")[2]
            return path in _JIT or (path.startswith((".", "triton")) and last in _JIT_NAMES)
        return self.facts.code(at).rpartition(".")[2] == "triton_jit"

    def _called(self) -> Iterator[Node]:
        """`kernel = triton.jit(function)`, `triton.jit(do_not_specialize=…)(function)`."""
        for call in self.facts.calls("jit"):
            outer = call.parent
            if self.facts.names.callee(call) not in _JIT:
                continue
            curried = outer is not None and outer.type == "call" and outer.children[0] == call
            for given in (call, outer if curried else None):
                arguments = self.facts.names.arguments(given).positional if given else []
                made = self.facts.names.definition(arguments[0]) if arguments else None
                if made is not None and made.type == "function_definition":
                    yield made

    def _kernel(self, function: Node, decorators: tuple[Node, ...]) -> Kernel:
        name = function.child_by_field_name("name")
        given = function.child_by_field_name("parameters")
        nodes = given.named_children if given is not None else []
        parameters = tuple(p for node in nodes if (p := self._parameter(node)) is not None)
        return Kernel(function, self.facts.code(name) if name else "", parameters, decorators)

    def _parameter(self, node: Node) -> Parameter | None:
        name = node if node.type == "identifier" else node.child_by_field_name("name")
        if name is None:
            found = [child for child in node.named_children if child.type == "identifier"]
            if not found or node.type == "comment":
                return None
            name = found[0]
        annotation = node.child_by_field_name("type")
        constexpr = annotation is not None and "constexpr" in self.facts.code(annotation)
        default = node.child_by_field_name("value")
        return Parameter(self.facts.code(name), name, constexpr, default)

    # -- calls --------------------------------------------------------------------------------

    def operation(self, node: Node) -> Operation | None:
        """What a call computes, if it is one of Triton's language; helpers and others are None."""
        if node.type != "call":
            return None
        if node.id not in self._operations:
            self._operations[node.id] = self._operation(node)
        return self._operations[node.id]

    def _operation(self, call: Node) -> Operation | None:
        function = call.child_by_field_name("function")
        if function is None:
            return None
        given = self.facts.names.arguments(call)
        path = self.facts.names.qualified(function)
        if path is not None:
            if not path.startswith(_LANGUAGE):
                return None
            name = path.rpartition(".")[2]
            return Operation(name, tuple(given.positional), given.keywords, call)
        if function.type != "attribute":
            return None
        name = self.facts.code(function.children[-1])
        if name not in _MEMBERS or self.facts.names.qualified(function.children[0]) is not None:
            return None
        return Operation(name, (function.children[0], *given.positional), given.keywords, call)

    def operations(self, kernel: Kernel, *names: str) -> Iterator[Operation]:
        """The operations of some names in a kernel, in source order, however they are spelled."""
        if kernel.node.id not in self._by_kernel:
            found = (self.operation(node) for node in walk(kernel.body))
            self._by_kernel[kernel.node.id] = [one for one in found if one is not None]
        for operation in self._by_kernel[kernel.node.id]:
            if operation.name in names:
                yield operation

    def helper(self, call: Node) -> Kernel | None:
        """The kernel of this file that a call in another kernel calls."""
        function = call.child_by_field_name("function") if call.type == "call" else None
        made = self.facts.names.definition(function) if function is not None else None
        if made is None:
            return None
        return next((kernel for kernel in self.kernels if kernel.node.id == made.id), None)

    def callers(self, kernel: Kernel) -> list[Node]:
        """The calls of a kernel from other kernels of the file; launches are none."""
        return [
            call
            for call in self.facts.calls(kernel.name)
            if self.kernel_of(call) is not None and self.helper(call) is kernel
        ]

    def argument(self, kernel: Kernel, name: str, call: Node) -> Node | None:
        """What a call of a kernel gives for a parameter; its default where nothing is given."""
        given = self.facts.names.arguments(call)
        for position, parameter in enumerate(kernel.parameters):
            if parameter.name == name:
                found = given.get(name, position)
                return parameter.default if found is None and not given.open else found
        return None

    def returned(self, kernel: Kernel) -> list[Node]:
        """The expressions that a kernel returns."""
        found = [node for node in walk(kernel.body) if node.type == "return_statement"]
        return [node.named_children[0] for node in found if node.named_children]

    # -- where values come from ---------------------------------------------------------------

    def sources(self, name: Node) -> Iterator[Node]:
        """The expressions that an identifier's value may be, by the assignments that reach it.

        An augmented assignment gives its statement (both sides are operands); parameters and
        unpacked values give nothing.
        """
        for binding in self.facts.flow.reaching(name):
            if binding.kind in ("assign", "walrus") and binding.value is not None:
                yield binding.value
            elif binding.kind == "augment":
                yield binding.statement

    def roots(self, node: Node) -> frozenset[str]:
        """Everything that flows into an expression: names of operations, and "param:NAME".

        "program_id" among them: it differs between programs; "arange": between lanes; "load": it
        was read from memory. Helpers of the file count by what they return; an unknown call is
        "unknown".
        """
        if node.id not in self._roots:
            self._roots[node.id] = self._collect(node)
        return self._roots[node.id]

    def _collect(self, node: Node) -> frozenset[str]:
        found: set[str] = set()
        seen: set[int] = set()
        stack = [node]
        while stack and len(seen) < _LIMIT:
            at = stack.pop()
            if at.id in seen:
                continue
            seen.add(at.id)
            if at.type == "identifier":
                found |= self._parameters_among(at)
                stack.extend(self.sources(at))
            elif at.type == "call":
                stack.extend(self._of_call(at, found))
            elif at.type == "attribute":
                stack.append(at.children[0])
            elif at.type == "keyword_argument":
                stack.extend(at.named_children[1:])
            else:
                stack.extend(at.named_children)
        return frozenset(found)

    def _of_call(self, call: Node, found: set[str]) -> list[Node]:
        operation = self.operation(call)
        if operation is not None:
            found.add(operation.name)
            return [*operation.operands, *operation.keywords.values()]
        helper = self.helper(call)
        if helper is None:
            found.add("unknown")
        given = call.child_by_field_name("arguments")
        inner = self.returned(helper) if helper is not None else []
        return [*inner, *(given.named_children if given is not None else [])]

    def _parameters_among(self, name: Node) -> set[str]:
        bindings = self.facts.flow.reaching(name)
        return {f"param:{self.facts.code(name)}" for b in bindings if b.kind == "param"}

    def varies_by_program(self, node: Node) -> bool:
        """Whether a value derives from `program_id`."""
        return "program_id" in self.roots(node)

    def varies_by_lane(self, node: Node) -> bool:
        """Whether a value derives from `arange`: it is a block, not one number a program."""
        return "arange" in self.roots(node)
