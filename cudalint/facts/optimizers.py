"""Optimizers: the parameters that one is given, and whether these stay on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cudalint.facts.devices import CPU
from cudalint.facts.flow import walk
from cudalint.facts.graph.tables import words
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

_OWNED = ("parameters", "named_parameters")
_DISPLAYS = ("list", "tuple", "parenthesized_expression")
# Uses of a module that leave it where it is.
_STAYING = words(
    """parameters named_parameters train eval state_dict load_state_dict zero_grad forward modules
    children named_modules float double half apply requires_grad_ weight bias"""
)
_MOVING = lazy_compile(r"\.to\(|\.cuda\(|device")
_DEPTH = 3


def stays_on_cpu(facts: PythonFacts, given: Node) -> bool:
    """Whether all parameters that an optimizer is given are made on the CPU and never moved."""
    if facts.devices.sets_default or facts.devices.moves_by_itself:
        return False
    expressions = list(_followed(facts, given))
    owners = [node for at in expressions for node in _owners(facts, at)]
    if owners:
        return all(_module_stays(facts, owner) for owner in owners)
    tensors = [node for at in expressions for node in _elements(at)]
    values = [facts.tensors.value(node) for node in tensors]
    return bool(values) and all(one.is_tensor and one.device == CPU for one in values)


def _followed(facts: PythonFacts, node: Node) -> Iterator[Node]:
    """An expression, and what the names in it were assigned where these are plain lists."""
    todo, depth = [node], 0
    while todo and depth < _DEPTH:
        yield from todo
        names = [at for one in todo for at in _elements(one) if at.type == "identifier"]
        bindings = [binding for name in names for binding in facts.flow.reaching(name)]
        todo = [b.value for b in bindings if b.kind == "assign" and b.value is not None]
        depth += 1


def _elements(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        at = stack.pop()
        if at.type in _DISPLAYS:
            stack.extend(child for child in at.named_children if child.type != "comment")
        else:
            yield at


def _owners(facts: PythonFacts, node: Node) -> Iterator[Node]:
    """The modules whose parameters an expression reads."""
    for at in walk(node):
        if at.type != "call" or at.children[0].type != "attribute":
            continue
        if facts.code(at.children[0].children[-1]) in _OWNED:
            yield at.children[0].children[0]


def _module_stays(facts: PythonFacts, owner: Node) -> bool:
    values = _made(facts, owner)
    if not values or not all(_is_made_here(facts, value) for value in values):
        return False
    last = owner if owner.type == "identifier" else owner.children[-1]
    for node in facts.identifiers(facts.code(last)):
        mention = node
        if owner.type == "attribute":
            parent = node.parent
            if parent is None or facts.code(parent) != facts.code(owner):
                continue
            mention = parent
        if not _leaves_it(facts, mention):
            return False
    return True


def _made(facts: PythonFacts, owner: Node) -> list[Node]:
    """Every value that the name or attribute is given; none where one is not in sight."""
    if owner.type == "attribute" and facts.code(owner.children[0]) == "self":
        holder = facts.names.enclosing(owner, "class_definition")
        found = facts.names.attributes(holder) if holder is not None else {}
        return list(found.get(facts.code(owner.children[-1]), ()))
    if owner.type != "identifier":
        return []
    looked = facts.names.lookup(owner)
    bindings = looked[1] if looked is not None else ()
    values = [b.value for b in bindings if b.kind == "assign" and b.value is not None]
    return values if len(values) == len(bindings) else []


def _is_made_here(facts: PythonFacts, value: Node) -> bool:
    """A module of torch, torchvision or the file, made by its class; moved to the CPU at most."""
    if value.type != "call":
        return False
    function = value.children[0]
    if function.type == "attribute":
        word = facts.code(function.children[-1])
        if word == "cpu" or (word == "to" and _names_cpu(facts, value)):
            return True
    path = facts.names.callee(value) or ""
    if path.startswith(("torch.nn.", "torchvision.models.")):
        return _MOVING.search(facts.code(value)) is None
    holder = facts.names.definition(function) if function.type == "identifier" else None
    if holder is None or holder.type != "class_definition":
        return False
    return _MOVING.search(facts.code(holder)) is None and "device" not in facts.code(value)


def _names_cpu(facts: PythonFacts, call: Node) -> bool:
    device = facts.names.arguments(call).get("device", 0)
    return device is not None and facts.devices.of(device) == CPU


def _leaves_it(facts: PythonFacts, mention: Node) -> bool:
    """Whether one use of a module's name leaves the module on the CPU."""
    parent = mention.parent
    if parent is None:
        return False
    if parent.type == "assignment":
        return parent.child_by_field_name("left") == mention
    if parent.type == "return_statement":
        return mention.type == "identifier"  # alone, so the steps were made before
    if parent.type == "call":
        return parent.child_by_field_name("function") == mention
    if parent.type != "attribute" or parent.child_by_field_name("object") != mention:
        return False
    call = parent.parent
    word = facts.code(parent.children[-1])
    if word == "to" and call is not None and call.type == "call":
        return _names_cpu(facts, call)
    return word in _STAYING
