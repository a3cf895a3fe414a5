"""Convolutions whose output a batch norm, and nothing else, takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.graph.patterns.candidates import aliases, attributes, functions
from cudalint.lazy import lazy_compile
from cudalint.rare import Rare

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Graph, Value
    from cudalint.facts.python import PythonFacts

_CONV = lazy_compile(r"torch\.nn\.(?:Lazy)?Conv(?:Transpose)?[123]d$")
_WORD = Rare((b"Conv",), rb"\b(?:Lazy)?Conv(?:Transpose)?[123]d\b")
_NORM = lazy_compile(r"torch\.nn\.(?:(?:Lazy)?BatchNorm[123]d|SyncBatchNorm)$")
# Norms that are put into eval mode while the rest trains use the mean of other days.
_FROZEN = lazy_compile(
    rb"isinstance\([^()\n]*BatchNorm[^\n]*\n\s*[^\n]*\.(?:eval\(\)|requires_grad\b)"
    rb"|freeze_?(?:bn|batch_?norm)|frozen_?(?:bn|batch_?norm)|norm_eval|bn_eval",
    re.IGNORECASE,
)


class Pair(NamedTuple):
    """The construction of a convolution, and of the batch norm behind it."""

    conv: Node
    norm: Node


def pairs(facts: PythonFacts) -> Iterator[Pair]:
    """Every such pair whose convolution may have a bias, in source order."""
    found = {pair.conv.id: pair for pair in (*_in_sequences(facts), *_in_forwards(facts))}
    if found and not _FROZEN.search(facts.text):
        yield from sorted(found.values(), key=lambda pair: pair.conv.start_byte)


# -- nn.Sequential --------------------------------------------------------------------------------


def _in_sequences(facts: PythonFacts) -> Iterator[Pair]:
    for call in _calls(facts, _CONV):
        following = _next(_entry(call))
        norm = _value(following) if following is not None else None
        if norm is None or not _is(facts, norm, _NORM):
            continue
        holder = _sequential(facts, call)
        if holder is not None and not _is_taken_apart(facts, holder):
            yield Pair(call, norm)


def _calls(facts: PythonFacts, kind: re.Pattern[str]) -> Iterator[Node]:
    spelled = (match[0] for match in _WORD.finditer(facts.text))
    words = {word.decode() for word in (*spelled, *aliases(facts, b"Conv"))}
    for call in facts.calls(*sorted(words)):
        if kind.match(facts.names.callee(call) or ""):
            yield call


def _entry(call: Node) -> Node:
    """What a list or an argument list holds: the call, or the `("name", call)` around it."""
    parent = call.parent
    if parent is not None and parent.type == "tuple" and len(parent.named_children) == 2:
        return parent
    return call


def _value(entry: Node) -> Node | None:
    value = entry.named_children[1] if entry.type == "tuple" else entry
    return value if value.type == "call" else None


def _next(entry: Node) -> Node | None:
    following = entry.next_named_sibling
    while following is not None and following.type == "comment":
        following = following.next_named_sibling
    if following is None or following.type != entry.type:
        return None
    return following if entry.type == "call" or len(following.named_children) == 2 else None


def _sequential(facts: PythonFacts, call: Node) -> Node | None:
    """The `nn.Sequential(…)` that runs an entry: around it, or given the list that holds it."""
    holder = _entry(call).parent
    if holder is None:
        return None
    if holder.type == "list":
        return _of_list(facts, holder)
    made = holder.parent if holder.type == "argument_list" else None
    return made if made is not None and _is_sequential(facts, made) else None


def _of_list(facts: PythonFacts, display: Node) -> Node | None:
    parent = display.parent
    if parent is None:
        return None
    if parent.type == "list_splat" or parent.type == "argument_list":
        outer = parent if parent.type == "argument_list" else parent.parent
        call = outer.parent if outer is not None else None
        if call is not None and facts.code(call.children[0]).endswith("OrderedDict"):
            outer = call.parent
            call = outer.parent if outer is not None else None
        return call if call is not None and _is_sequential(facts, call) else None
    name = _extended(facts, display)
    return _given_to(facts, display, name) if name else None


def _extended(facts: PythonFacts, display: Node) -> str:
    """The list that a display is, or is added to: `x = […]`, `x += […]`, `x = x + […]`."""
    at: Node | None = display.parent
    while at is not None and at.type == "binary_operator":
        at = at.parent
    if at is None or at.type not in ("assignment", "augmented_assignment"):
        return ""
    left = at.child_by_field_name("left")
    return facts.code(left) if left is not None and left.type == "identifier" else ""


def _given_to(facts: PythonFacts, display: Node, name: str) -> Node | None:
    """The `nn.Sequential(*name)` of the same function."""
    function = facts.names.enclosing(display, "function_definition")
    for call in facts.calls("Sequential"):
        inside = facts.names.enclosing(call, "function_definition") == function
        given = facts.code(call.child_by_field_name("arguments") or call)
        if inside and given == f"(*{name})" and _is_sequential(facts, call):
            return call
    return None


def _is_sequential(facts: PythonFacts, call: Node) -> bool:
    return call.type == "call" and facts.names.callee(call) == "torch.nn.Sequential"


def _is_taken_apart(facts: PythonFacts, sequential: Node) -> bool:
    """Whether the file reads single modules of a sequence that an attribute of `self` holds, be it
    of a module of the file that is given the sequence."""
    parent = sequential.parent
    left = parent.child_by_field_name("left") if parent is not None else None
    if parent is not None and parent.type == "argument_list":
        call = parent.parent
        holder = facts.names.definition(call.children[0]) if call is not None else None
        if holder is None or holder.type != "class_definition":
            return False
        kept = facts.names.attributes(holder).items()
        given = [name for name, values in kept if {one.type for one in values} == {"identifier"}]
        text = facts.text[holder.start_byte : holder.end_byte]
        return any(_reads_single(text, name) for name in given)
    if left is None or left.type != "attribute":
        return False
    return _reads_single(facts.text, facts.code(left.children[-1]))


def _reads_single(text: bytes, attribute: str) -> bool:
    name = re.escape(attribute.encode())
    apart = rb"\.%s(?:\[|\.(?:children|named_children|_modules|modules)\b)|\bin (?:enumerate\()?[\w.]*\.%s\b"
    return re.search(apart % (name, name), text) is not None


# -- forward --------------------------------------------------------------------------------------


def _in_forwards(facts: PythonFacts) -> Iterator[Pair]:
    norms = attributes(facts, b"BatchNorm")
    if not norms:
        return
    for function in functions(facts, norms):
        graph = facts.graphs.of(function)
        if graph.opaque is not None:
            continue
        for value in graph.of("module"):
            pair = _pair(facts, graph, value)
            if pair is not None:
                yield pair


def _pair(facts: PythonFacts, graph: Graph, value: Value) -> Pair | None:
    """`self.norm(self.conv(x))`, both of them modules that `__init__` makes."""
    x = value.operands[0] if len(value.operands) == 1 else None
    if x is None or x.op != "module" or len(graph.uses(x)) != 1 or value.body != x.body:
        return None
    norm, conv = _made(facts, graph, value, _NORM), _made(facts, graph, x, _CONV)
    if norm is None or conv is None or not _is_only_used_so(facts, graph, x):
        return None
    return Pair(conv, norm)


def _made(facts: PythonFacts, graph: Graph, value: Value, kind: re.Pattern[str]) -> Node | None:
    """The call in `__init__` that made the module which gave a value."""
    path = str(value.attrs[1])
    if kind.match(f"torch.nn.{value.attrs[0]}") is None or not path.startswith("self."):
        return None
    holder = facts.graphs.classes.of(value.body or graph.function)
    name = path.removeprefix("self.")
    modules = facts.graphs.classes.module(holder, name) if holder and name.isidentifier() else None
    if modules is None or len(modules) != 1 or not modules[0].certain:
        return None
    return modules[0].call


def _is_only_used_so(facts: PythonFacts, graph: Graph, x: Value) -> bool:
    """Whether the file mentions the convolution where it is made, called here, or initialised."""
    name = str(x.attrs[1]).removeprefix("self.")
    called = 0
    for node in facts.identifiers(name):
        parent = node.parent
        if parent is None or parent.type != "attribute" or parent.children[-1] != node:
            continue
        outer = parent.parent
        if outer is None:
            return False
        if outer.type == "call" and outer.child_by_field_name("function") == parent:
            called += 1
        elif outer.type == "attribute" and facts.code(outer.children[-1]) == "weight":
            continue
        elif outer.type != "assignment" or outer.child_by_field_name("left") != parent:
            return False
    classes = len(re.findall(rb"self\.%s\s*=" % re.escape(name.encode()), facts.text))
    return called <= classes


def _is(facts: PythonFacts, call: Node, kind: re.Pattern[str]) -> bool:
    return kind.match(facts.names.callee(call) or "") is not None
