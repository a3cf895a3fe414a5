"""The file's own functions and classes: what they return, are called with, and keep in `self`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cudalint.facts.flow import FUNCTIONS
from cudalint.facts.tensors.builtins import iterated
from cudalint.facts.tensors.values import (
    BOTTOM,
    NUMBER,
    TEXT,
    UNKNOWN_VALUE,
    Value,
    join,
    output,
    sequence,
    tensor,
)
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tree_sitter import Node

    from cudalint.facts.bindings import Binding
    from cudalint.facts.python import PythonFacts

_RETURNS = 12
_SITES = 8
_BASES = 8
_MODULE_BASE = lazy_compile(
    r"(?:^|\.)(?:\w*(?:Module|PreTrainedModel|ModelMixin|MessagePassing)|nn\.\w+|\w*Net|\w*Model)$"
)
_TENSOR_TYPE = lazy_compile(
    r"\b(?:torch\.)?(?:Float|Long|Int|Bool|Half|Double|cuda\.Float)?Tensor\b"
)
_CONTAINER = lazy_compile(r"^(?:typing\.)?(?:[lL]ist|[tT]uple|Sequence|Iterable|Set)\[")
_MAPPING = lazy_compile(r"^(?:typing\.)?(?:[dD]ict|Mapping)\[")
_STEP_HOOKS = ("training_step", "validation_step", "test_step", "predict_step", "compute_loss")
_INPUTS = ("batch", "inputs", "outputs", "data", "samples")


# -- classes ----------------------------------------------------------------------------------


def bases(facts: PythonFacts, holder: Node) -> Iterator[tuple[Node, Node | None]]:
    """The base expressions of a class and of its bases in the file, each with its class there."""
    seen = {holder.id}
    todo = [holder]
    while todo and len(seen) < _BASES:
        given = todo.pop(0).child_by_field_name("superclasses")
        for node in given.named_children if given is not None else ():
            if node.type not in ("identifier", "attribute"):
                continue
            own = facts.names.definition(node) if node.type == "identifier" else None
            yield node, own
            if own is not None and own.type == "class_definition" and own.id not in seen:
                seen.add(own.id)
                todo.append(own)


def is_module_class(facts: PythonFacts, holder: Node) -> bool:
    """Whether a class derives from `torch.nn.Module`, by name where the base is another file's."""
    for node, own in bases(facts, holder):
        if own is not None:
            continue
        path = facts.names.qualified(node) or facts.code(node)
        if path.startswith("torch.autograd"):
            return False
        if path.startswith(("torch.nn.", "pytorch_lightning.", "lightning.")):
            return True
        if _MODULE_BASE.search(path):
            return True
    return False


def class_of(facts: PythonFacts, holder: Node, method: str) -> Node | None:
    """The definition of a method in a class, or in its bases of the file."""
    if (found := facts.names.method(holder, method)) is not None:
        return found
    for _, own in bases(facts, holder):
        is_class = own is not None and own.type == "class_definition"
        found = facts.names.method(own, method) if own is not None and is_class else None
        if found is not None:
            return found
    return None


def constructed(facts: PythonFacts, holder: Node) -> Value:
    """An instance of a class of the file."""
    return Value("module" if is_module_class(facts, holder) else "object", node=holder)


# -- results ----------------------------------------------------------------------------------


def nodes_of(function: Node, *types: str) -> Iterator[Node]:
    """The nodes of some types in a function's own body, in source order."""
    body = function.child_by_field_name("body")
    stack = [body] if body is not None else []
    while stack:
        node = stack.pop()
        if node.type in types:
            yield node
        if node.type not in (*FUNCTIONS, "class_definition"):
            stack.extend(reversed(node.named_children))


def returned(facts: PythonFacts, function: Node) -> Value:
    """What a function or lambda of the file returns, whatever it is called with."""
    return facts.tensors.once(function, lambda: _returned(facts, function))


def _returned(facts: PythonFacts, function: Node) -> Value:
    if function.type == "lambda":
        body = function.child_by_field_name("body")
        return facts.tensors.value(body) if body is not None else UNKNOWN_VALUE
    results: list[Value] = []
    yields: list[Value] = []
    for node in nodes_of(function, "return_statement", "yield"):
        value = facts.tensors.value(node.named_children[0]) if node.named_children else BOTTOM
        (results if node.type == "return_statement" else yields).append(value)
    if yields:
        return sequence(join(*yields[:_RETURNS]))
    made = join(*results[:_RETURNS])
    if made.kind in ("unknown", "bottom") and (declared := _return_type(function)) is not None:
        return annotated(facts.code(declared)) or made
    return made


def _return_type(function: Node) -> Node | None:
    return function.child_by_field_name("return_type")


# -- parameters -------------------------------------------------------------------------------


def annotated(text: str) -> Value | None:
    """What a type annotation says; None where it says nothing of use."""
    text = text.strip("\"' ")
    for prefix in ("Optional[", "typing.Optional["):
        if text.startswith(prefix):
            text = text[len(prefix) :].rstrip("]")
    if _CONTAINER.match(text):
        return sequence(tensor()) if _TENSOR_TYPE.search(text) else None
    if _MAPPING.match(text):
        return Value("mapping", item=tensor()) if _TENSOR_TYPE.search(text) else None
    if _TENSOR_TYPE.search(text) and "Callable" not in text:
        return tensor(sure="float" not in text and "int" not in text)
    if re.match(r"(?:torch\.)?nn\.Module\b", text):
        return Value("module")
    if re.match(r"(?:\w+\.)*DataLoader\b", text):
        return Value("loader", sure=False)
    if text in ("float", "int", "bool"):
        return NUMBER
    return TEXT if text == "str" else Value("array") if text.endswith("ndarray") else None


def parameter(facts: PythonFacts, binding: Binding) -> Value:
    """A parameter: by its annotation, the calls in the file, its function's contract, its name."""
    function = facts.names.enclosing(binding.node, *FUNCTIONS)
    if function is None:
        return UNKNOWN_VALUE
    if function.type == "lambda":
        return _mapped(facts, function, binding)
    name = facts.code(binding.node)
    known = annotated(facts.code(binding.annotation)) if binding.annotation is not None else None
    if known is not None:
        passed = _passed(facts, function, binding) if known.kind == "loader" else known
        return passed if passed.kind == known.kind else known
    if binding.statement.type in ("list_splat_pattern", "dictionary_splat_pattern"):
        return UNKNOWN_VALUE
    holder = _class_around(function)
    if holder is not None and name in ("self", "cls"):
        return constructed(facts, holder)
    if (contract := _by_contract(facts, function, holder, binding)) is not None:
        return contract
    passed = _passed(facts, function, binding)
    if passed.kind in ("unknown", "bottom"):
        passed = facts.tensors.value(binding.value) if binding.value is not None else passed
    if passed.kind in ("unknown", "bottom", "none"):
        return facts.loaders.by_name(name) or UNKNOWN_VALUE
    return passed


def _mapped(facts: PythonFacts, function: Node, binding: Binding) -> Value:
    """What `map(lambda t: …, values)` hands to its lambda, one by one."""
    call = function.parent.parent if function.parent is not None else None
    if call is None or call.type != "call" or facts.names.callee(call) != "builtins.map":
        return UNKNOWN_VALUE
    given = facts.names.arguments(call).positional
    position = _position(function, binding.node) + 1
    if not given or given[0].id != function.id or not 0 < position < len(given):
        return UNKNOWN_VALUE
    return iterated(facts.tensors.value(given[position]))


def _class_around(function: Node) -> Node | None:
    block = function.parent
    if block is not None and block.type == "decorated_definition":
        block = block.parent
    holder = block.parent if block is not None else None
    return holder if holder is not None and holder.type == "class_definition" else None


def _by_contract(
    facts: PythonFacts, function: Node, holder: Node | None, binding: Binding
) -> Value | None:
    """Inputs of `forward` are tensors, the batch of a hook is made of them."""
    if holder is None:
        return None
    method = function.child_by_field_name("name")
    method_name = facts.code(method) if method is not None else ""
    if method_name == "forward" and is_module_class(facts, holder):
        default = binding.value
        if default is None or default.type == "none":
            return output(sure=False)
    if method_name in _STEP_HOOKS and facts.code(binding.node) in _INPUTS:
        return output()
    return None


def _passed(facts: PythonFacts, function: Node, binding: Binding) -> Value:
    """What the calls in the file pass for a parameter."""
    position = _position(function, binding.node) - (1 if _is_bound(facts, function) else 0)
    if position < 0:
        return UNKNOWN_VALUE
    name, values = facts.code(binding.node), []
    for call in facts.tensors.mentions(function):
        given = facts.names.arguments(call)
        node = given.get(name, position)
        if (node is None and not given.open) or not may_call(facts, call, function):
            continue
        if node is not None and node.type != "list_splat":
            values.append(facts.tensors.value(node))
        elif given.open:
            return UNKNOWN_VALUE
        if len(values) >= _SITES:
            break
    return join(*values)


def _is_bound(facts: PythonFacts, function: Node) -> bool:
    """Whether calls leave the first parameter out: it is `self` or `cls`."""
    parameters = function.child_by_field_name("parameters")
    named = parameters.named_children if parameters is not None else []
    return bool(named) and facts.code(named[0]) in ("self", "cls")


def _position(function: Node, name: Node) -> int:
    parameters = function.child_by_field_name("parameters")
    for index, node in enumerate(parameters.named_children if parameters is not None else ()):
        if node.start_byte <= name.start_byte < node.end_byte:
            return index
    return -1


def find_mentions(
    facts: PythonFacts, function: Node, where: Callable[[int], bool] | None = None
) -> list[Node]:
    """The calls in the file by a function's name (a class's for `__init__`), not yet proven its.

    Only those at offsets that `where` wants are looked at if it is given.
    """
    name = function.child_by_field_name("name")
    if name is None:
        return []
    holder = _class_around(function)
    if holder is not None and facts.code(name) == "__init__":
        class_name = holder.child_by_field_name("name")
        title = facts.code(class_name) if class_name is not None else ""
        return list(facts.calls(title, where=where)) if title else []
    kind = "identifier" if holder is None else "attribute"
    calls = facts.calls(facts.code(name), where=where)
    return [call for call in calls if call.children[0].type == kind]


def may_call(facts: PythonFacts, call: Node, function: Node) -> bool:
    """Whether a call by a function's name is its: by scope, `self`, or the class of the owner."""
    callee = call.children[0]
    holder = _class_around(function)
    name = function.child_by_field_name("name")
    if holder is not None and name is not None and facts.code(name) == "__init__":
        return True
    own = facts.names.definition(callee)
    if own is not None or holder is None:
        return own == function
    owner = callee.children[0]
    if facts.code(owner) in ("super()", "torch", "F", "nn", "np"):
        return False
    if owner.type == "identifier" and facts.names.qualified(owner) is not None:
        return False
    value = facts.tensors.value(owner)
    if value.node is not None and value.kind in ("object", "module"):
        return value.node == holder
    return value.kind in ("unknown", "bottom", "object", "module")
