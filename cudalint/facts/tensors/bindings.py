"""What a binding gives to its name: assignment, unpacking, loop target, `with`, parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.tensors.builtins import iterated
from cudalint.facts.tensors.definitions import annotated, parameter
from cudalint.facts.tensors.operations import binary
from cudalint.facts.tensors.values import BOTTOM, UNKNOWN_VALUE, Value, join, sequence

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.bindings import Binding
    from cudalint.facts.python import PythonFacts

_PATTERNS = ("pattern_list", "tuple_pattern", "list_pattern", "tuple", "list")
_DISPLAYS = ("expression_list", "tuple", "list")


def bound_value(facts: PythonFacts, binding: Binding) -> Value:
    """The value that a binding gives to its name."""
    return facts.tensors.once(binding.node, lambda: _bound_value(facts, binding))


def _bound_value(facts: PythonFacts, binding: Binding) -> Value:
    value = binding.value
    declared = binding.annotation if binding.kind in ("assign", "annotate") else None
    known = annotated(facts.code(declared)) if declared is not None else None
    if known is not None:
        return known
    if binding.kind in ("assign", "walrus") and value is not None:
        return _with_growth(facts, binding, facts.tensors.value(value))
    if binding.kind in ("unpack", "for"):
        return target_value(facts, binding.node) or UNKNOWN_VALUE
    if binding.kind == "param":
        return parameter(facts, binding)
    if binding.kind == "augment" and value is not None:
        return _augmented(facts, binding, value)
    if binding.kind == "with" and value is not None:
        return _entered(facts, value)
    if binding.kind == "def":
        return Value("function", node=binding.statement)
    return BOTTOM if binding.kind == "delete" else UNKNOWN_VALUE


def _augmented(facts: PythonFacts, binding: Binding, value: Node) -> Value:
    """`x += value`: what x was, and value."""
    before = join(*(bound_value(facts, b) for b in facts.flow.reaching(binding.node)))
    operator = facts.code(binding.statement.children[1]).rstrip("=")
    given = facts.tensors.value(value)
    if before.kind == "bottom":
        return given
    return binary(before, given, operator)


def _entered(facts: PythonFacts, value: Node) -> Value:
    """`with tqdm(loader) as bar`: what is iterated is what was wrapped."""
    made = facts.tensors.value(value)
    return made if made.kind in ("loader", "sequence") else UNKNOWN_VALUE


def _with_growth(facts: PythonFacts, binding: Binding, made: Value) -> Value:
    """An empty list or dict holds what is appended to it or stored in it."""
    if made.kind not in ("sequence", "mapping") or made.items or made.entries:
        return made
    if made.item is not None and made.item.kind != "bottom":
        return made
    grown = [facts.tensors.value(node) for node in _growth(facts, binding.node)]
    item = join(*grown) if grown else UNKNOWN_VALUE
    return sequence(item) if made.kind == "sequence" else Value("mapping", item=item)


def _growth(facts: PythonFacts, name: Node) -> list[Node]:
    """What `name.append(x)` and `name[key] = x` put into a container of a scope."""
    found: list[Node] = []
    scope = facts.names.scope(name)
    for use in facts.identifiers(facts.code(name)):
        parent = use.parent
        if parent is None or parent.children[0] != use or len(found) >= 8:
            continue
        looked_up = facts.names.lookup(use) if parent.type in ("attribute", "subscript") else None
        if looked_up is None or looked_up[0] is not scope or parent.parent is None:
            continue
        holder = parent.parent
        if parent.type == "attribute" and facts.code(parent.children[-1]) == "append":
            found += facts.names.arguments(holder).positional if holder.type == "call" else []
        elif holder.type == "assignment" and holder.child_by_field_name("left") == parent:
            right = holder.child_by_field_name("right")
            found += [right] if right is not None else []
    return found


def target_value(facts: PythonFacts, target: Node) -> Value | None:
    """The value that reaches one name or attribute of an assignment's or a loop's targets."""
    path: list[int] = []
    child, parent = target, target.parent
    while parent is not None and parent.type in (*_PATTERNS, "list_splat_pattern"):
        if parent.type == "list_splat_pattern":
            return _starred(facts, parent)
        named = [node for node in parent.named_children if node.type != "comment"]
        splats = [i for i, node in enumerate(named) if node.type == "list_splat_pattern"]
        index = next(i for i, node in enumerate(named) if node == child)
        path.insert(0, index - len(named) if splats and index > splats[0] else index)
        child, parent = parent, parent.parent
    if parent is None:
        return None
    if parent.type in ("for_statement", "for_in_clause"):
        right = parent.child_by_field_name("right")
        return _at(iterated(facts.tensors.value(right)), path) if right is not None else None
    if parent.type == "assignment":
        return _unpacked(facts, parent, path)
    if parent.type == "augmented_assignment":
        return BOTTOM
    return None


def _starred(facts: PythonFacts, splat: Node) -> Value | None:
    return sequence(UNKNOWN_VALUE)


def _unpacked(facts: PythonFacts, assignment: Node, path: list[int]) -> Value | None:
    value = assignment.child_by_field_name("right")
    while value is not None and value.type == "assignment":
        value = value.child_by_field_name("right")
    while value is not None and path and value.type in _DISPLAYS:
        named = [node for node in value.named_children if node.type != "comment"]
        if any(node.type == "list_splat" for node in named) or not -len(named) <= path[0] < len(
            named
        ):
            return UNKNOWN_VALUE
        value = named[path.pop(0)]
    return _at(facts.tensors.value(value), path) if value is not None else None


def _at(value: Value, path: list[int]) -> Value:
    """The element of a value that a path of unpacking leads to."""
    for index in path:
        if value.kind == "sequence" and value.items:
            inside = -len(value.items) <= index < len(value.items)
            value = value.items[index] if inside else value.item or UNKNOWN_VALUE
        else:
            value = iterated(value)
    return value
