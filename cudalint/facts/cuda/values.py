"""The statements of a device function, read once from top to bottom.

Names map to values; a branch runs on a copy, and where its arms disagree the value is joined. A
loop's variable grows by its step with every turn; what a loop assigns in any other way is some
value in it and after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cudalint.facts.cuda.access import Guard, Lambda, Pointer, Value
from cudalint.facts.cuda.affine import ZERO, Atom, Kind, Poly
from cudalint.facts.cuda.evaluate import DEPTH, text_of
from cudalint.facts.cuda.functions import declared
from cudalint.facts.cuda.loops import Loops, declared_in
from cudalint.facts.cuda.types import spelled
from cudalint.lazy import lazy_compile

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.cuda.functions import Function

_SHARED = lazy_compile(r"(?i)shared|s?mem\b|\bs_?data|\bs_")


class Values(Loops):
    """What a function reads, writes and calls, with the indices as polynomials."""

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        space = "global" if function.is_kernel else "unknown"
        for parameter in function.parameters:
            self.names[parameter.name] = self._parameter(parameter.name, space, function)
        self._run(function.body)

    def _parameter(self, name: str, space: str, function: Function) -> Value:
        parameter = next(one for one in function.parameters if one.name == name)
        if parameter.is_pointer:
            sizes = tuple(self.number(size) for size in parameter.sizes)
            return Pointer(name, space, ZERO, parameter.type, sizes)
        known = Kind.UNKNOWN if function.is_device else Kind.UNIFORM
        return Poly.of(Atom(name, known))

    # Statements; each returns whether what follows it may be reached

    def _run(self, node: Node | None) -> bool:
        if node is None or self._depth > DEPTH:
            return True
        self._depth += 1
        try:
            method = _STATEMENTS.get(node.type)
            if method is not None:
                return method(self, node)
            if node.is_named and node.type != "comment":
                self.value(node)
            return True
        finally:
            self._depth -= 1

    def _block(self, node: Node) -> bool:
        outer, guards = dict(self.names), len(self.guards)
        reached = self._sequence(node.named_children)
        del self.guards[guards:]
        for name in declared_in(node):
            if name in outer:
                self.names[name] = outer[name]
            else:
                self.names.pop(name, None)
        return reached

    def _sequence(self, nodes: list[Node]) -> bool:
        reached = True
        for node in nodes:
            if not self._run(node):
                reached = False
                if node.type not in ("case_statement", "labeled_statement"):
                    break
        return reached

    def _statement(self, node: Node) -> bool:
        for child in node.named_children:
            self.value(child)
        return True

    def _leave(self, node: Node) -> bool:
        for child in node.named_children:
            value = self.value(child)
            if node.type == "return_statement":
                self.returned.append(value)
        return False

    def _declaration(self, node: Node) -> bool:
        shared = "__shared__" in text_of(node)[:80] or "__shared__" in _qualifiers(node)
        for declarator in node.children_by_field_name("declarator"):
            self._declare(node, declarator, shared)
        return True

    def _declare(self, node: Node, declarator: Node, shared: bool) -> None:
        value_node = declarator.child_by_field_name("value")
        plain = (
            declarator.child_by_field_name("declarator") if value_node is not None else declarator
        )
        name, sizes = declared(plain)
        if not name:
            return
        kind = self.facts.types.of(spelled(node, declarator), self.function.templates)
        if sizes or (shared and not kind.pointer):
            if value_node is not None:
                self.value(value_node)
            dimensions = tuple(self.number(size) for size in sizes)
            space = "shared" if shared else "local"
            self.names[name] = Pointer(name, space, ZERO, kind, dimensions, slot=not sizes)
            return
        if value_node is None:
            self.names[name] = self._constructed(declarator)
            return
        if value_node.type == "lambda_expression":
            self.names[name] = Lambda(value_node)
            return
        if plain is not None and plain.type == "reference_declarator":
            place = self.place(value_node)
            if isinstance(place, Pointer):
                self.names[name] = place._replace(slot=True)
                return
            if place is not None and place in self.names:
                self.names[name] = self.names[place]
                return
        self.names[name] = self._initial(name, value_node, kind.pointer)

    def _constructed(self, declarator: Node) -> Value:
        """`dim3 block(threads)` reads as a function that takes a `threads`."""
        listed = declarator.child_by_field_name("parameters")
        names = [text_of(one) for one in listed.named_children] if listed is not None else []
        values = [self.names.get(one) or self._free(one) for one in names if one.isidentifier()]
        ones = all(isinstance(one, Poly) and one.constant == 1 for one in values[1:])
        if values and len(values) == len(names) and ones:
            return values[0]
        return self.unknown(("declared", declarator.id))

    def _initial(self, name: str, node: Node, pointer: int) -> Value:
        if node.type in ("argument_list", "initializer_list"):
            values = [self.value(child) for child in node.named_children if child.type != "comment"]
            ones = all(isinstance(value, Poly) and value.constant == 1 for value in values[1:])
            return values[0] if values and ones else self.unknown(("initial", node.id))
        value = self.value(node)
        if pointer and isinstance(value, Poly):
            space = "shared" if _SHARED.search(f"{name} {text_of(node)}") else "unknown"
            return Pointer(name, space, ZERO, self.facts.types.of("?"))
        return value

    # Branches

    def _if(self, node: Node) -> bool:
        condition = node.child_by_field_name("condition")
        kind = self.number(condition).kind_of_result
        arms = [node.child_by_field_name("consequence"), node.child_by_field_name("alternative")]
        return self._arms(node, condition or node, max(kind, Kind.UNIFORM), arms)

    def _arms(self, node: Node, test: Node, kind: Kind, arms: list[Node | None]) -> bool:
        before = dict(self.names)
        after: list[tuple[bool, dict[str, Value]]] = []
        for negated, arm in zip((False, True), arms, strict=True):
            self.names = dict(before)
            self.guards.append(Guard(test, kind, negated))
            reached = self._run(arm)
            self.guards.pop()
            after.append((reached, self.names))
        (first, then), (second, otherwise) = after
        if first and second:
            self.names = {
                name: self.joined(then[name], otherwise[name], kind, (node.id, name))
                for name in then
                if name in otherwise
            }
            return True
        self.names = then if first else otherwise
        if first or second:
            self.guards.append(Guard(test, kind, second))
        return first or second

    def _inside(self, node: Node) -> bool:
        """An `else`, a label: what stands in it."""
        return self._sequence([child for child in node.named_children if child.type != "comment"])

    def _conditional_group(self, node: Node) -> bool:
        """`#if … #else …`: one or the other, the same for all threads."""
        other = node.child_by_field_name("alternative")
        skipped = {other, node.child_by_field_name("condition"), node.child_by_field_name("name")}
        body = [child for child in node.named_children if child not in skipped]
        before = dict(self.names)
        first = self._sequence(body)
        then, self.names = self.names, dict(before)
        second = self._run(other)
        for name, value in then.items():
            if name in self.names and name in before:
                self.names[name] = self.joined(
                    value, self.names[name], Kind.UNIFORM, (node.id, name)
                )
            else:
                self.names[name] = value
        return first or second

    def _switch(self, node: Node) -> bool:
        self.value(node.child_by_field_name("condition"))
        body = node.child_by_field_name("body")
        before = dict(self.names)
        for case in body.named_children if body is not None else ():
            self.names = dict(before)
            self._sequence(case.named_children if case.type == "case_statement" else [case])
        self.names = before
        self._forget(node, Kind.UNKNOWN)
        return True


def _qualifiers(node: Node) -> str:
    return " ".join(text_of(c) for c in node.children if c.type == "type_qualifier")


_STATEMENTS: dict[str, Callable[[Values, Node], bool]] = {
    "break_statement": Values._leave,
    "case_statement": Values._inside,
    "compound_statement": Values._block,
    "continue_statement": Values._leave,
    "declaration": Values._declaration,
    "do_statement": Values._while,
    "else_clause": Values._inside,
    "expression_statement": Values._statement,
    "for_range_loop": Values._range_for,
    "for_statement": Values._for,
    "function_definition": Values._block_macro,
    "if_statement": Values._if,
    "labeled_statement": Values._inside,
    "preproc_call": lambda values, node: True,
    "preproc_def": lambda values, node: True,
    "preproc_elif": Values._conditional_group,
    "preproc_else": Values._inside,
    "preproc_function_def": lambda values, node: True,
    "preproc_if": Values._conditional_group,
    "preproc_ifdef": Values._conditional_group,
    "return_statement": Values._leave,
    "switch_statement": Values._switch,
    "while_statement": Values._while,
}
