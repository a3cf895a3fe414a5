"""Tensors: what is known of each expression's value, on demand and once.

`Tensors.value` walks from an expression to what it is made of: through assignments that reach it,
unpacking, comprehensions, loops over loaders, and functions and classes of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU, UNKNOWN
from cudalint.facts.tensors import tables
from cudalint.facts.tensors.bindings import bound_value, target_value
from cudalint.facts.tensors.calls import call_value
from cudalint.facts.tensors.definitions import class_of, find_mentions, may_call
from cudalint.facts.tensors.evidence import Evidence
from cudalint.facts.tensors.operations import attribute, binary, dtype_of, element
from cudalint.facts.tensors.values import (
    ARRAY,
    BOTTOM,
    NONE,
    NUMBER,
    TEXT,
    UNKNOWN_VALUE,
    Value,
    join,
    join_devices,
    output,
    sequence,
    tensor,
)
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

__all__ = ["Tensors", "Value"]

_DEPTH = 70
_OPEN = 1 << 30
_CPU_NAME = lazy_compile(r"(?:^|_)cpu$|_cpu_|(?:^|\.)cpu_\w+$")
_WORK = 1000
_CONSTANTS = {
    "integer": NUMBER,
    "float": NUMBER,
    "true": NUMBER,
    "false": NUMBER,
    "none": NONE,
    "string": TEXT,
    "concatenated_string": TEXT,
    "not_operator": NUMBER,
}


class Tensors:
    """Values of the expressions of one file."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self._known: dict[int, Value] = {}
        self._busy: dict[int, int] = {}
        self._low = _OPEN
        self._work = 0
        self._sites: dict[int, list[Node]] = {}
        self._mentions: dict[int, list[Node]] = {}

    @cached_property
    def evidence(self) -> Evidence:
        """What the uses of names say of them."""
        return Evidence(self.facts)

    def value(self, node: Node) -> Value:
        """What is known of an expression's value; for a target, of what is assigned to it."""
        constant = _CONSTANTS.get(node.type)
        return constant if constant is not None else self.once(node, lambda: self._value(node))

    def is_device_tensor(self, node: Node) -> bool:
        """Whether an expression is certainly a tensor, and not known to be on the CPU."""
        value = self.value(node)
        return value.kind == "tensor" and value.sure and value.is_on_device

    def once(self, node: Node, compute: Callable[[], Value]) -> Value:
        """A value computed once for a node; a cycle gives no value, too deep an unknown one.

        What was computed while a node further up was still open (`_low` is its depth) says too
        little to be kept, unless the work of one question grows too large.
        """
        if (known := self._known.get(node.id)) is not None:
            return known
        depth = len(self._busy)
        if (at := self._busy.get(node.id)) is not None or depth > _DEPTH:
            self._low = min(self._low, at if at is not None else 0)
            return BOTTOM if at is not None else UNKNOWN_VALUE
        self._work = 0 if depth == 0 else self._work + 1
        self._busy[node.id] = depth
        outer, self._low = self._low, _OPEN
        try:
            made = compute()
        finally:
            del self._busy[node.id]
        if self._low >= depth or self._work > _WORK:
            self._known[node.id] = made
            self._low = outer
        else:
            self._low = min(self._low, outer)
        return made

    def mentions(self, function: Node) -> list[Node]:
        """The calls by the name of a function of the file, not yet proven its."""
        if (known := self._mentions.get(function.id)) is None:
            known = self._mentions[function.id] = find_mentions(self.facts, function)
        return known

    def sites(self, function: Node) -> list[Node]:
        """The calls of a function of the file."""
        if (known := self._sites.get(function.id)) is not None:
            return known
        self._sites[function.id] = []  # a cycle sees no calls
        found = [c for c in self.mentions(function) if may_call(self.facts, c, function)]
        self._sites[function.id] = found
        return found

    # -- expressions --------------------------------------------------------------------------

    def _value(self, node: Node) -> Value:
        handler = _HANDLERS.get(node.type)
        return UNKNOWN_VALUE if handler is None else handler(self, node)

    def _identifier(self, node: Node) -> Value:
        made = join(*(bound_value(self.facts, b) for b in self.facts.flow.reaching(node)))
        return self._with_uses(node, made)

    def _with_uses(self, node: Node, made: Value) -> Value:
        """What the uses of a name, and its spelling, add where its assignments say too little."""
        if made.is_tensor and made.device == UNKNOWN and _CPU_NAME.search(self.facts.code(node)):
            made = made.but(device=CPU)
        if made.kind in ("unknown", "output", "tensor", "bottom") and self.evidence.is_loss(node):
            dtype = made.dtype or "float"
            return made.but(kind="tensor", sure=True, scalar=True, dtype=dtype)
        if made.kind in ("unknown", "bottom", "none", "object") and self.evidence.is_module(node):
            return Value("module", device=made.device, node=made.node)
        if made.kind in ("unknown", "bottom"):
            text = self.facts.code(node).rpartition(".")[2]
            return self.facts.loaders.by_name(text) or UNKNOWN_VALUE
        return made

    def _attribute(self, node: Node) -> Value:
        path = self.facts.names.qualified(node)
        if path is not None:
            return self._of_path(node, path)
        name = self.facts.code(node.children[-1])
        owner = self.value(node.children[0])
        if owner.kind == "bottom":
            return owner
        if owner.is_tensor and (not owner.path or name in tables.TENSOR_ATTRIBUTES):
            return self._with_uses(node, attribute(owner, name))
        if owner.kind == "sequence" and len(owner.items) == 2 and name in ("values", "indices"):
            return owner.items[name == "indices"]
        made = UNKNOWN_VALUE
        if owner.node is not None and owner.kind in ("object", "module"):
            made = self._of_object(owner.node, name)
        if made.kind == "unknown" and owner.kind == "module":
            if name in ("module", "model", "_orig_mod"):
                return owner
            if owner.node is None:  # a buffer, a loss that it keeps; never an object's attribute
                made = output(owner.device, sure=False).but(path=name)
        if name == "device":
            return Value("device")
        return self._with_uses(node, made)

    def _of_path(self, node: Node, path: str) -> Value:
        if dtype := dtype_of(self.facts, node):
            return Value("dtype", dtype=dtype)
        top = path.partition(".")[0]
        return NUMBER if top in ("math", "numpy") or path == "torch.inf" else UNKNOWN_VALUE

    def _of_object(self, holder: Node, name: str) -> Value:
        """`self.name` by all that the methods of the class assign to it."""
        targets = self.facts.names.attributes(holder).get(name)
        if targets:
            return join(*(self._assigned(node, name) for node in targets))
        if (buffer := self._buffer(holder, name)) is not None:
            return buffer
        found = class_of(self.facts, holder, name)
        return Value("function", node=found) if found is not None else UNKNOWN_VALUE

    def _buffer(self, holder: Node, name: str) -> Value | None:
        """What `register_buffer("name", …)` keeps: it goes where the module goes."""
        for call in self.facts.calls("register_buffer"):
            if self.facts.names.enclosing(call, "class_definition") != holder:
                continue
            given = self.facts.names.arguments(call)
            spelled, kept = given.get("name", 0), given.get("tensor", 1)
            if spelled is not None and self.facts.code(spelled).strip("\"'") == name:
                made = self.value(kept) if kept is not None else UNKNOWN_VALUE
                return made.but(device=UNKNOWN) if made.is_tensor else made
        return None

    def _assigned(self, node: Node, name: str) -> Value:
        """An assigned value, or the target itself where it has no value of its own."""
        is_target = node.type == "attribute" and self.facts.code(node) == f"self.{name}"
        made = target_value(self.facts, node) if is_target else None
        made = made if made is not None else self.value(node)
        moves = node.type == "call" and self.facts.names.callee(node) == "torch.nn.Parameter"
        return made.but(device=UNKNOWN) if moves and made.is_tensor else made  # as its module does

    def _subscript(self, node: Node) -> Value:
        owner = self.value(node.children[0])
        indices = node.children_by_field_name("subscript")
        index = self.facts.code(indices[0]) if len(indices) == 1 else ":"
        kinds = ("number", "text", "none")
        plain = all(i.type == "slice" or self.value(i).kind in kinds for i in indices)
        return self._with_uses(node, element(owner, index, plain))

    def _call(self, node: Node) -> Value:
        return call_value(self.facts, node)

    def _binary(self, node: Node) -> Value:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        if left is None or right is None or operator is None:
            return UNKNOWN_VALUE
        return binary(self.value(left), self.value(right), self.facts.code(operator))

    def _unary(self, node: Node) -> Value:
        operand = node.child_by_field_name("argument")
        return self.value(operand) if operand is not None else UNKNOWN_VALUE

    def _comparison(self, node: Node) -> Value:
        if any(child.type in ("is", "is not", "in", "not in") for child in node.children):
            return NUMBER
        values = [self.value(child) for child in node.named_children]
        tensors = [value for value in values if value.is_tensor]
        if not tensors:
            return ARRAY if any(value.kind == "array" for value in values) else NUMBER
        return tensor(
            join_devices(*(value.device for value in tensors)),
            "bool",
            scalar=all(v.kind == "number" or (v.is_tensor and v.scalar) for v in values),
            sure=any(value.sure for value in tensors),
            grad=False,
        )

    def _either(self, node: Node) -> Value:
        """`a or b`, `a if test else b`."""
        named = [child for child in node.named_children if child.type != "comment"]
        arms = [named[0], named[-1]] if named else []
        return join(*(self.value(arm) for arm in arms))

    def _inner(self, node: Node) -> Value:
        named = [child for child in node.named_children if child.type != "comment"]
        return self.value(named[0]) if len(named) == 1 else UNKNOWN_VALUE

    def _named(self, node: Node) -> Value:
        value = node.child_by_field_name("value")
        return self.value(value) if value is not None else UNKNOWN_VALUE

    def _display(self, node: Node) -> Value:
        named = [child for child in node.named_children if child.type != "comment"]
        if any(child.type == "list_splat" for child in named):
            return sequence(UNKNOWN_VALUE)
        return sequence(items=tuple(self.value(child) for child in named[:64]))

    def _comprehension(self, node: Node) -> Value:
        body = node.child_by_field_name("body")
        return sequence(self.value(body)) if body is not None else UNKNOWN_VALUE

    def _dictionary(self, node: Node) -> Value:
        entries: dict[str, Value] = {}
        for pair in node.named_children[:64]:
            key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
            if key is not None and value is not None:
                entries[self.facts.code(key).strip("\"'")] = self.value(value)
        return Value("mapping", item=join(*entries.values()), entries=entries)

    def _dictionary_comprehension(self, node: Node) -> Value:
        body = node.child_by_field_name("body")
        value = body.child_by_field_name("value") if body is not None else None
        return Value("mapping", item=self.value(value)) if value is not None else UNKNOWN_VALUE

    def _lambda(self, node: Node) -> Value:
        return Value("function", node=node)


_HANDLERS: dict[str, Callable[[Tensors, Node], Value]] = {
    "identifier": Tensors._identifier,
    "attribute": Tensors._attribute,
    "subscript": Tensors._subscript,
    "call": Tensors._call,
    "binary_operator": Tensors._binary,
    "unary_operator": Tensors._unary,
    "comparison_operator": Tensors._comparison,
    "boolean_operator": Tensors._either,
    "conditional_expression": Tensors._either,
    "parenthesized_expression": Tensors._inner,
    "await": Tensors._inner,
    "list_splat": Tensors._inner,
    "as_pattern_target": Tensors._inner,
    "named_expression": Tensors._named,
    "tuple": Tensors._display,
    "list": Tensors._display,
    "set": Tensors._display,
    "expression_list": Tensors._display,
    "list_comprehension": Tensors._comprehension,
    "set_comprehension": Tensors._comprehension,
    "generator_expression": Tensors._comprehension,
    "dictionary": Tensors._dictionary,
    "dictionary_comprehension": Tensors._dictionary_comprehension,
    "lambda": Tensors._lambda,
}
