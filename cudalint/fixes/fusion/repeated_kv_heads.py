"""Passes `enable_gqa=True` and the heads as they are, in place of repeated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph.patterns.kv_heads import Repeat, RepeatedHeads
from cudalint.facts.graph.patterns.parameters import handed
from cudalint.facts.graph.render import Renderer, Unspeakable, names_of, reordered
from cudalint.facts.graph.values import Value
from cudalint.facts.respell import insert_last, replace
from cudalint.fixes.fusion._kernels import Kernel, of_torch
from cudalint.fixes.fusion._plan import patched, planned
from cudalint.fixes.fusion._write import call
from cudalint.model import Edit, Finding, Patch, Plan, Refusal

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


def plan(finding: Finding, facts: PythonFacts) -> Plan | Refusal:
    found: RepeatedHeads = finding.captures["heads"]
    if found.used:
        return Refusal("the repeated heads are used elsewhere")
    if _is_single(facts, found):
        return Refusal("torch has no fused kernel for grouped heads in float32")
    function = found.call.node.child_by_field_name("function")
    assert function is not None  # of a call
    _, need = of_torch(facts, "torch.nn.functional", "scaled_dot_product_attention")
    target = Kernel(facts.code(function), need, "torch", True)
    return planned(
        finding,
        facts,
        target,
        found.call.value,
        found.consumed,
        found.reads,
        lambda render: _call(target, found, render),
        lambda: _is_quotient(facts, found),
        helpers=True,
    )


def _is_single(facts: PythonFacts, found: RepeatedHeads) -> bool:
    """Whether query, key or value certainly is in float32."""
    given = found.call.given
    if any(
        _is_cast_wide(value) for value in (given.get("query"), found.key.base, found.value.base)
    ):
        return True
    arguments = facts.names.arguments(found.call.node)
    nodes = (arguments.get(name, at) for at, name in enumerate(("query", "key", "value")))
    known = [facts.tensors.value(node) for node in nodes if node is not None]
    return any(value.is_tensor and value.dtype == "float32" for value in known)


def _is_cast_wide(value: Value | None) -> bool:
    while value is not None and value.op in ("permute", "reshape", "contiguous"):
        value = value.operands[0]
    return value is not None and value.op == "cast" and value.attrs == ("float32",)


def write(plan: Plan) -> Patch:
    edits = patched(plan)
    return Patch(edits.edits, may_free=edits.may_free)  # the call's own import is there


def _call(target: Kernel, found: RepeatedHeads, render: Renderer) -> str:
    """The call with its arguments as they stand, comments and rows included, but for the heads."""
    facts, node = render.facts, found.call.node
    given, listed = facts.names.arguments(node), node.child_by_field_name("arguments")
    assert listed is not None  # of a call
    changed = {}
    for name, at, repeat in (("key", 1, found.key), ("value", 2, found.value)):
        argument = given.get(name, at)
        assert argument is not None  # the pattern has read it
        changed[argument.id] = (argument, _text(repeat, found, render))
    for child in listed.named_children:
        value = child.child_by_field_name("value") if child.type == "keyword_argument" else child
        if value is not None and value.id not in changed:
            render.names.update(names_of(facts, value))
    edits = [replace(argument, text) for argument, text in changed.values()]
    if "\n" in facts.code(listed):
        return _edited(facts, node, [*edits, insert_last(listed, "enable_gqa=True")])
    texts = [_edited(facts, child, edits) for child in listed.named_children]
    return call(facts, node, target.spelling, [*texts, "enable_gqa=True"])


def _edited(facts: PythonFacts, node: Node, edits: list[Edit]) -> str:
    """The source of a node with the edits that lie in it."""
    text = facts.text[node.start_byte : node.end_byte]
    inside = [e for e in edits if node.start_byte <= e.span.start and e.span.end <= node.end_byte]
    for edit in sorted(inside, key=lambda edit: edit.span.start, reverse=True):
        start, end = edit.span.start - node.start_byte, edit.span.end - node.start_byte
        text = text[:start] + edit.content + text[end:]
    return text.decode()


def _text(repeat: Repeat, found: RepeatedHeads, render: Renderer) -> str:
    """The heads as they are, turned as they were."""
    try:
        text = render.atom(repeat.base) if repeat.above else render.text(repeat.base)
    except Unspeakable:
        name = _untouched(repeat.base, found, render)
        if name is None:
            raise
        text = name
    return text + "".join(_turned(value) for value in reversed(repeat.above))


def _untouched(base: Value, found: RepeatedHeads, render: Renderer) -> str | None:
    """The name of what only the helpers that go were given, so that nothing else wrote to it."""
    calls = [use.user for use in base.uses if use.user is not None and use.user.op == "call"]
    if any(call.id not in found.consumed for call in calls):
        return None
    for name, slot in render.env.items():
        if handed(slot.value)[-1] is base and len(handed(slot.value)) == 2:
            render.names.add(name)
            return name
    return None


def _turned(value: Value) -> str:
    if value.op == "permute":
        return reordered(value, value.attrs)
    return f".transpose({value.attrs[0]}, {value.attrs[1]})"


def _is_quotient(facts: PythonFacts, found: RepeatedHeads) -> bool:
    """Whether the number of copies is a quotient of two numbers of heads."""
    count = found.key.count
    if count is not None and count.op == "self":
        holder = facts.graphs.classes.of(found.call.node)
        node = holder.assigned(str(count.attrs[0])) if holder is not None else None
        return node is not None and "//" in facts.code(node)
    return count is not None and count.op == "floordiv"
