"""Softmaxes in device code: exponentials divided by their sum, and whether a maximum reaches them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cudalint.facts.cuda.evaluate import arguments_of, text_of
from cudalint.facts.cuda.exponentials import EXP, SUM_CALL, Exponentials, is_constant
from cudalint.facts.cuda.flow import Definition, Flow, calls_in, names_in, place_name, values_in
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda import CudaFacts
    from cudalint.facts.cuda.functions import Function

_EXP_BYTES = lazy_compile(rb"exp(?:2|10)?f?\w*\s*\(|ex2\w*\s*\(|EXP\w*\s*\(")
# A parameter that another kernel filled, in a file that names no maximum.
_SUM_NAME = lazy_compile(r"(?i)sum|total|denom|partition")
_ANY_MAXIMUM = lazy_compile(rb"(?i)\b(?!FLT_MAX|INT_MAX)\w*(?:max|largest|lse|logsum)\w*")
_DIVIDES = lazy_compile(rb"/[^/*]|rcp|div|reciprocal")
_RECIPROCAL = lazy_compile(r"(?:__)?f?(?:rcp|reciprocal)\w*\Z|__frcp_r[nzud]\Z|h2?rcp\Z")
_DIVIDE_CALL = lazy_compile(
    r"__fdividef\Z|__f?div_rn\Z|__fdiv_r[nzud]\Z|h2?div\Z|__h2?div\Z|fast_?div\w*\Z"
)


class Softmax(NamedTuple):
    """A softmax without a maximum: its exponentials in source order, the sum, the division."""

    function: Function
    exponentials: tuple[Node, ...]
    total: str
    division: Node


def naive_softmaxes(facts: CudaFacts) -> Iterator[Softmax]:
    """The softmaxes of a file that no maximum reaches, one a function."""
    if _EXP_BYTES.search(facts.text) is None:
        return
    for function in facts.functions:
        on_device = function.is_kernel or function.is_device
        if on_device and function.is_whole and _DIVIDES.search(function.text) is not None:
            found = _Search(function).run()
            if found is not None:
                yield found


class _Search:
    """The search for one softmax in one function."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.facts = function.facts
        self.flow = Flow(function)

    def run(self) -> Softmax | None:
        exps = Exponentials(self.function, self.flow).bare
        if not exps:
            return None
        holders = self._holders(exps)
        sums = {**self._given_sums(exps), **self._sums(exps, holders)}
        if not sums:
            return None
        for division, above, below in self._divisions():
            used = self._same(above, below, exps, holders, sums)
            if used:
                return Softmax(self.function, tuple(used), place_name(below), division)
        return None

    # Where exponentials go

    def _holders(self, exps: list[Node]) -> dict[str, list[Node]]:
        """Names that hold an exponential, or a product of one, with the exponentials."""
        found: dict[str, list[Node]] = {}
        for _ in range(3):
            before = len(found)
            for definitions in self.flow.definitions.values():
                for definition in definitions:
                    inside = self._held_in(definition.value, exps, found)
                    if inside and definition.operator == "=":
                        held = found.setdefault(self.flow.root(definition.name), [])
                        held += [one for one in inside if one not in held]
            if len(found) == before:
                break
        return found

    def _held_in(self, node: Node, exps: list[Node], holders: dict[str, list[Node]]) -> list[Node]:
        """The exponentials that an expression is, in whatever cast, choice or vector."""
        found: list[Node] = []
        stack = [node]
        while stack:
            part = stack.pop()
            if part in exps:
                found.append(part)
            elif part.type in ("identifier", "subscript_expression", "field_expression"):
                name = self.flow.root(place_name(part))
                found += [one for one in holders.get(name, ()) if one not in found]
            elif part.type == "conditional_expression":
                stack += [
                    arm
                    for field in ("consequence", "alternative")
                    if (arm := part.child_by_field_name(field)) is not None
                ]
            elif part.type in ("parenthesized_expression", "initializer_list"):
                stack += part.named_children
            elif part.type == "cast_expression":
                stack += [part.named_children[-1]]
            elif part.type == "call_expression" and not any(
                SUM_CALL.match(name) for name, _ in calls_in([part])
            ):
                stack += arguments_of(part)
        return found

    def _exps_in(self, node: Node, exps: list[Node], holders: dict[str, list[Node]]) -> list[Node]:
        """The exponentials that an expression is made of, by itself and through names."""
        found: list[Node] = []
        for part in values_in(node):
            if part in exps:
                found.append(part)
            elif part.type == "identifier":
                found += holders.get(self.flow.root(text_of(part)), ())
        return found

    def _sums(self, exps: list[Node], holders: dict[str, list[Node]]) -> dict[str, list[Node]]:
        """Names that hold a sum of exponentials, and what is made of such sums."""
        found: dict[str, list[Node]] = {}
        everything = [one for many in self.flow.definitions.values() for one in many]
        for definition in everything:
            inside = self._exps_in(definition.value, exps, holders)
            if inside and self._adds_up(definition, exps, holders):
                found.setdefault(self.flow.root(definition.name), []).extend(inside)
        for _ in range(4):
            before = len(found)
            for definition in everything:
                for name in names_in(definition.value):
                    held = found.get(self.flow.root(name))
                    target = self.flow.root(definition.name)
                    if held and target not in found and self._passes_on(definition):
                        found[target] = list(held)
            if len(found) == before:
                break
        return found

    def _given_sums(self, exps: list[Node]) -> dict[str, list[Node]]:
        """Parameters that another kernel of a file without any maximum has summed up."""
        if _ANY_MAXIMUM.search(self.facts.text) is not None:
            return {}
        return {
            parameter.name: exps
            for parameter in self.function.parameters
            if _SUM_NAME.search(parameter.name) and parameter.name not in self.flow.definitions
        }

    def _adds_up(
        self, definition: Definition, exps: list[Node], holders: dict[str, list[Node]]
    ) -> bool:
        """Whether a definition adds exponentials to each other."""
        value = definition.value
        if definition.operator == "+=":
            return True
        if definition.operator != "=":
            return False
        for part in values_in(value):
            for name, _ in calls_in([part]):
                if SUM_CALL.match(name) and not EXP.match(name):
                    return True
            if part.type != "binary_expression":
                continue
            if text_of(part.child_by_field_name("operator") or part) != "+":
                continue
            sides = [part.child_by_field_name("left"), part.child_by_field_name("right")]
            own = definition.name
            if all(
                side is not None and (place_name(side) == own or self._exps_in(side, exps, holders))
                for side in sides
            ):
                return True
        return False

    def _passes_on(self, definition: Definition) -> bool:
        """Whether a definition keeps a sum, reduces it further or turns it over."""
        if definition.operator == "+=":
            return True
        value = definition.value
        while value.type in ("parenthesized_expression", "cast_expression"):
            value = value.child_by_field_name("value") or value.named_children[-1]
        if value.type in ("identifier", "subscript_expression", "pointer_expression"):
            return True
        if value.type == "conditional_expression":
            return True
        if value.type == "call_expression":
            return True
        if value.type == "binary_expression":
            operator = text_of(value.child_by_field_name("operator") or value)
            left = value.child_by_field_name("left")
            return operator == "+" or (operator == "/" and left is not None and is_constant(left))
        return False

    # Divisions

    def _divisions(self) -> Iterator[tuple[Node, Node, Node]]:
        """Divisions, and products with a reciprocal: the node, what is above and below."""
        for node in self.flow.nodes:
            operator = node.child_by_field_name("operator")
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            if left is not None and right is not None and operator is not None:
                if text_of(operator) in ("/", "/="):
                    yield node, left, right
                elif text_of(operator) in ("*", "*="):
                    yield node, left, right
                    yield node, right, left
            for name, call in calls_in([node]):
                arguments = arguments_of(call)
                if _DIVIDE_CALL.match(name) and len(arguments) == 2:
                    yield node, arguments[0], arguments[1]

    def _same(
        self,
        above: Node,
        below: Node,
        exps: list[Node],
        holders: dict[str, list[Node]],
        sums: dict[str, list[Node]],
    ) -> list[Node]:
        """The exponentials above and in the sum below, where they are of the same values."""
        under = [one for name in names_in(below) for one in sums.get(self.flow.root(name), ())]
        over = self._exps_in(above, exps, holders) or self._weights(above, exps, holders)
        if not under or not over or not self._is_denominator(below, sums):
            return []
        used = sorted({*under, *over}, key=lambda node: node.start_byte)
        if any(one in under for one in over):
            return used
        shared = self._sources(over) & self._sources(under)
        return used if shared else []

    def _weights(self, above: Node, exps: list[Node], holders: dict[str, list[Node]]) -> list[Node]:
        """The exponentials that a weighted sum adds up: `acc += e * v`, divided at its end."""
        found: list[Node] = []
        for name in names_in(above):
            for definition in self.flow.definitions.get(self.flow.root(name), ()):
                if definition.operator == "+=" and definition.value.type == "binary_expression":
                    found += self._exps_in(definition.value, exps, holders)
        return found

    def _is_denominator(self, below: Node, sums: dict[str, list[Node]]) -> bool:
        """Whether a sum is divided by: the divisor itself, or a factor that is its reciprocal."""
        parent = below.parent
        operator = parent.child_by_field_name("operator") if parent is not None else None
        if operator is None or text_of(operator) in ("/", "/="):
            return not any(
                part.type == "binary_expression"
                and text_of(part.child_by_field_name("operator") or part) == "+"
                and any(map(_is_one, part.named_children))
                for part in values_in(below)
            )
        if below.type == "call_expression":
            return any(_RECIPROCAL.match(name) for name, _ in calls_in([below]))
        if below.type == "parenthesized_expression":
            below = below.named_children[0] if below.named_children else below
        if below.type == "binary_expression":
            return text_of(below.child_by_field_name("operator") or below) == "/"
        return any(
            self._turns_over(definition.value)
            for name in names_in(below)
            for definition in self.flow.definitions.get(name, ())
        )

    def _turns_over(self, value: Node) -> bool:
        for part in values_in(value):
            operator = part.child_by_field_name("operator")
            if operator is not None and text_of(operator) == "/":
                return True
            if any(_RECIPROCAL.match(name) for name, _ in calls_in([part])):
                return True
        return False

    def _sources(self, exps: list[Node]) -> set[str]:
        """The arrays and parameters that exponents come from."""
        parameters = {parameter.name for parameter in self.function.parameters}
        return {
            text_of(part)
            for node in exps
            for argument in arguments_of(node)
            for part in self.flow.slice(argument)
            if part.type == "identifier" and text_of(part) in parameters
        }


def _is_one(node: Node) -> bool:
    return re.match(r"\(?(?:\w+\()?1(?:\.0*)?[fF]?\b", text_of(node)) is not None
