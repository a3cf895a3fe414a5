"""Calls: torch's become operations, this file's small functions are read in place, others may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import expressions as ex
from cudalint.facts.graph import modules, operations, tables
from cudalint.facts.graph.calling import arguments, unknown
from cudalint.facts.graph.classes import class_named
from cudalint.facts.graph.expressions import evaluates
from cudalint.facts.graph.functions import named, operation
from cudalint.facts.graph.inline import inline
from cudalint.facts.graph.memory import forget_self, fresh, view, write
from cudalint.facts.graph.values import Slot, Value

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


@evaluates("call")
def call(b: Builder, node: Node) -> Slot:
    """The value of a call."""
    function = node.child_by_field_name("function")
    if function is None:
        return fresh(b.pool.opaque("call", node))
    while function.type == "parenthesized_expression":
        function = function.named_children[0]
    if function.type in ("identifier", "attribute") and not b.is_local(function):
        path = b.facts.names.qualified(function)
        if path is not None:
            return named(b, node, path)
    if function.type == "attribute":
        return _method(b, node, function)
    if function.type == "identifier":
        return _local(b, node, function)
    if function.type == "call":
        found = b.classes.modules(function)
        if found is not None:
            slots, _keywords = arguments(b, node)
            return modules.run(b, node, found, slots, "")
    target = ex.evaluate(b, function)
    return unknown(b, node, [target])


def _method(b: Builder, node: Node, function: Node) -> Slot:
    owner, field = function.child_by_field_name("object"), function.child_by_field_name("attribute")
    if owner is None or field is None:
        return unknown(b, node, [])
    name = b.facts.code(field)
    if owner.type == "identifier" and b.facts.code(owner) == "self" and "self" in b.env:
        return _of_self(b, node, name)
    if owner.type == "call" and b.facts.names.callee(owner) == "builtins.super":
        forget_self(b)
        return unknown(b, node, [])
    static = b.facts.names.definition(function) if owner.type == "identifier" else None
    if static is not None and b.facts.code(owner) not in b.env:
        slots, keywords = arguments(b, node)
        made = inline(b, node, static, slots, keywords)
        if made is not None:
            return made
        return unknown(b, node, [], slots, keywords)
    base = ex.evaluate(b, owner)
    slots, keywords = arguments(b, node)
    if "norm" in name and len(slots) == 1 and not keywords and _is_given(base.value):
        found = b.classes.norm_named(name)
        if found is not None:  # `block.norm(x)` in a function that is given the block
            return modules.run(b, node, [found], slots, b.facts.code(function))
    unseen = "**" in keywords or any(slot.value.op == "star" for slot in slots)
    if unseen and name not in ("view", "reshape", "permute", "expand"):
        return unknown(b, node, [base], slots, keywords)
    return _tensor_method(b, node, name, base, slots, keywords)


def _is_given(value: Value, depth: int = 12) -> bool:
    """Whether a value is a parameter, whatever unknown code may have done to it."""
    if depth and value.op in ("opaque", "phi"):
        made = value.operands[:1] if value.op == "opaque" else value.operands[1:]
        return bool(made) and all(_is_given(one, depth - 1) for one in made)
    return value.op == "input"


def _tensor_method(
    b: Builder, node: Node, name: str, base: Slot, slots: list[Slot], keywords: dict[str, Slot]
) -> Slot:
    """A method that tensors have does what it does there; of any other name nothing is known."""
    plain = name.rstrip("_") if not name.startswith("_") else name
    if name == "requires_grad_":
        return base
    known = plain in operations.HANDLERS or plain in tables.PURE or plain in tables.VIEWS
    if not known and name not in ("copy_", "cuda", "fill_", "zero_", "masked_scatter_"):
        return unknown(b, node, [base], slots, keywords)
    if name == "cuda":
        made = b.pool.make("to_device", (base.value,), ("cuda",), node)
        made.shape = base.value.shape
        return view(made, base)
    if name == "copy_" and slots:
        return write(b, base, slots[0].value, b.statement)
    inner = [base, *slots]
    made_slot = operation(b, node, plain, inner, keywords)
    if name.endswith("_") and not name.startswith("_"):
        return write(b, base, made_slot.value, b.statement)
    return made_slot


def _of_self(b: Builder, node: Node, name: str) -> Slot:
    """`self.name(…)`: a torch submodule, a method of the file, or something unknown."""
    holder = b.holder
    if holder is not None and not _is_rebound(b, name):
        method = b.classes.method(holder, name)
        if method is not None:
            slots, keywords = arguments(b, node)
            self_slot = b.env["self"]
            made = inline(b, node, method, [self_slot, *slots], keywords)
            if made is not None:
                return made
            forget_self(b)
            return unknown(b, node, [], slots, keywords, f".{name}")
        found = b.classes.module(holder, name)
        if found is not None:
            slots, keywords = arguments(b, node)
            ex.load_self(b, name, None)
            return modules.run(b, node, found, slots, f"self.{name}", keywords)
        known = bool(holder.values(name))
        value = holder.assigned(name)
        forward = _pure_forward(b, value)
        if forward is not None:
            slots, keywords = arguments(b, node)
            made = inline(b, node, forward, [b.env["self"], *slots], keywords)
            return unknown(b, node, [], slots, keywords, f"self.{name}") if made is None else made
        if value is not None and value.type in ("identifier", "attribute"):
            path = b.facts.names.qualified(value) or ""
            if path.startswith("torch.") and path[6:].rpartition(".")[2].islower():
                return named(b, node, path)
        if value is not None and _makes_norm(b, value):
            return _norm(b, node, name)
    else:
        known = True
    target = ex.load_self(b, name, None)
    slots, keywords = arguments(b, node)
    if not known:
        forget_self(b)  # perhaps a method of a base
    return unknown(b, node, [target] if known else [], slots, keywords, f"self.{name}")


def _pure_forward(b: Builder, value: Node | None) -> Node | None:
    """The `forward` of a module class of the file, where it reads nothing of its object."""
    if value is None or value.type != "call" or value.children[0].type != "identifier":
        return None
    holder = b.facts.names.definition(value.children[0])
    if holder is None or holder.type != "class_definition":
        return None
    forward = b.classes.method(b.classes.get(holder), "forward")
    body = forward.child_by_field_name("body") if forward is not None else None
    if body is None or b.classes.method(b.classes.get(holder), "__call__") is not None:
        return None
    return None if any(True for _ in b.facts.identifiers("self", "super", inside=body)) else forward


def _is_rebound(b: Builder, name: str) -> bool:
    """Whether the function itself may have given `self.name` another value."""
    slot = b.env.get(f"self.{name}")
    return slot is not None and not (slot.value.op == "self" and slot.value.attrs[0] == name)


def _makes_norm(b: Builder, value: Node) -> bool:
    """Whether a constructor is called a norm: of a tensor alone, it writes nothing."""
    called = value.child_by_field_name("function") if value.type == "call" else None
    return called is not None and tables.NORM_CLASS.search(class_named(b.facts, called)) is not None


def _norm(b: Builder, node: Node, name: str) -> Slot:
    target = ex.load_self(b, name, None)
    slots, keywords = arguments(b, node)
    if len(slots) != 1 or keywords:
        return unknown(b, node, [target], slots, keywords, f"self.{name}")
    operands = (target.value, slots[0].value)
    made = b.pool.make("call", operands, (f"self.{name}",), node, unique=True)
    made.shape = slots[0].value.shape
    made.module = True
    return fresh(made)


def _local(b: Builder, node: Node, function: Node) -> Slot:
    """A call of a name of this file or of this function."""
    definition = b.function_of(function)
    if definition is not None:
        slots, keywords = arguments(b, node)
        made = inline(b, node, definition, slots, keywords)
        return made if made is not None else unknown(b, node, [], slots, keywords)
    target = ex.evaluate(b, function)
    path = _chosen(target.value)
    if path is not None:
        return named(b, node, path)
    return unknown(b, node, [target])


def _chosen(value: Value) -> str | None:
    """The torch function that a local name holds, be it one of two (`softmax = … if … else …`)."""
    for arm in (value, *value.operands[1:]) if value.op == "phi" else (value,):
        if arm.op == "global" and str(arm.attrs[0]).startswith("torch."):
            return str(arm.attrs[0])
    return None
