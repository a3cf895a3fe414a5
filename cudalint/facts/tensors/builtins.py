"""What Python's own functions return, and what iterating a value yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.tensors.values import (
    NUMBER,
    TEXT,
    UNKNOWN_VALUE,
    Value,
    join,
    output,
    sequence,
)

if TYPE_CHECKING:
    from cudalint.facts.arguments import Arguments
    from cudalint.facts.python import PythonFacts

_NUMBERS = ("float", "int", "bool", "len", "round", "ord", "hash", "id", "isinstance", "hasattr")
_TEXTS = ("str", "repr", "format", "input", "type", "open")
_ITERATES = ("list", "tuple", "sorted", "reversed", "set", "iter", "frozenset")


def builtin(facts: PythonFacts, name: str, given: Arguments) -> Value:
    values = [facts.tensors.value(node) for node in given.positional]
    if name in _NUMBERS:
        return NUMBER
    if name in _TEXTS:
        return TEXT
    first = values[0] if values else UNKNOWN_VALUE
    if name == "enumerate":
        return sequence(sequence(items=(NUMBER, iterated(first))))
    if name == "zip":
        return sequence(sequence(items=tuple(iterated(value) for value in values)))
    if name in _ITERATES:
        return first if first.kind in ("loader", "sequence") else sequence(iterated(first))
    if name == "next":
        return iterated(first)
    if name == "range":
        return sequence(NUMBER)
    if name == "sum":
        made = iterated(first)
        return made.but(kind="tensor") if made.is_tensor else made
    if name in ("min", "max", "abs"):
        return join(*values) if len(values) > 1 else iterated(first) if name != "abs" else first
    if name == "map" and len(given.positional) == 2:
        return sequence(_mapped(facts, given))
    if name == "dict":
        return Value(
            "mapping", item=join(*(facts.tensors.value(n) for n in given.keywords.values()))
        )
    return first if name == "super" else UNKNOWN_VALUE


def _mapped(facts: PythonFacts, given: Arguments) -> Value:
    function = given.positional[0]
    if function.type == "lambda" and (body := function.child_by_field_name("body")) is not None:
        return facts.tensors.value(body)
    plain = ("builtins.int", "builtins.float", "builtins.len")
    return NUMBER if facts.names.qualified(function) in plain else UNKNOWN_VALUE


def iterated(value: Value) -> Value:
    """What a `for` over a value yields."""
    if value.kind == "loader":
        batch = output(value.device, sure=value.sure, pinned=value.pinned)
        return value.item or batch.but(node=value.node)
    if value.kind == "sequence":
        return value.item or UNKNOWN_VALUE
    if value.is_tensor:
        return value.but(scalar=False)
    if value.kind == "mapping":
        return TEXT
    return value if value.kind in ("array", "bottom") else UNKNOWN_VALUE
