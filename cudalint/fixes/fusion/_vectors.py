"""Whether a parameter of a norm is one number for each of the last dim, as far as is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.values import Value
    from cudalint.facts.python import PythonFacts

_MAKERS = {f"torch.{name}" for name in ("ones", "zeros", "empty", "full", "randn", "rand")}
_SEQUENCES = ("tuple", "list")


def is_no_vector(facts: PythonFacts, result: Value, parameter: Value | None) -> bool:
    """Whether `__init__` gives a parameter several dims, or none."""
    if parameter is None or parameter.op != "self" or result.node is None:
        return False
    function = facts.names.enclosing(result.node, "function_definition")
    holder = facts.graphs.classes.of(function) if function is not None else None
    made = holder.assigned(str(parameter.attrs[0])) if holder is not None else None
    if holder is None or made is None:
        return False
    while made.type == "call" and facts.names.callee(made) == "torch.nn.Parameter":
        inner = facts.names.arguments(made).get("data", 0)
        if inner is None:
            return False
        made = inner
    if made.type != "call" or facts.names.callee(made) not in _MAKERS:
        return False
    return _has_several(facts, holder.node, made)


def _has_several(facts: PythonFacts, holder: Node, made: Node) -> bool:
    """Whether sizes are several, or one that a caller of the class gives as a tuple."""
    given = facts.names.arguments(made)
    first = given.get("size", 0)
    if given.open or first is None:
        return False
    if first.type in _SEQUENCES:
        return first.named_child_count != 1
    if len(given.positional) != 1:
        return not (facts.names.callee(made) or "").endswith("full")
    return first.type == "identifier" and _is_given_a_tuple(facts, holder, facts.code(first))


def _is_given_a_tuple(facts: PythonFacts, holder: Node, parameter: str) -> bool:
    """`LayerNorm((heads, width))`, where `__init__` makes the parameter of what it is given."""
    maker, name = facts.names.method(holder, "__init__"), holder.child_by_field_name("name")
    if maker is None or name is None:
        return False
    bindings = facts.names.inner(maker).bindings
    names = [key for key, bound in bindings.items() if bound[0].kind == "param"][1:]
    if parameter not in names:
        return False
    for call in facts.calls(facts.code(name)):
        value = facts.names.arguments(call).get(parameter, names.index(parameter))
        if value is not None and value.type in _SEQUENCES and value.named_child_count != 1:
            return True
    return False
