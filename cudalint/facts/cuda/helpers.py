"""Device functions and lambdas of the file, read where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.cuda.access import Lambda, Value
from cudalint.facts.cuda.affine import Kind, Poly
from cudalint.facts.cuda.calls import Calls
from cudalint.facts.cuda.evaluate import INLINED, text_of
from cudalint.facts.cuda.functions import declared

if TYPE_CHECKING:
    from tree_sitter import Node

# Helpers up to this many bytes are read where they are called.
_SMALL = 2500


class Helpers(Calls):
    """An evaluator that reads what it calls."""

    def _run(self, node: Node | None) -> bool:
        """Read a statement: see cudalint.facts.cuda.values."""
        raise NotImplementedError

    def inline(
        self, name: str, node: Node, arguments: list[Node], values: list[Value]
    ) -> Value | None:
        """The value that a device function of the file returns, read where it is called."""
        helpers = [one for one in self.facts.by_name.get(name, ()) if not one.is_kernel]
        if len(helpers) != 1 or len(self._sites) >= INLINED or name in self._inlined:
            return None
        helper = helpers[0]
        if len(helper.text) > _SMALL or not helper.is_whole:
            return None
        parameters = [parameter.name for parameter in helper.parameters]
        if len(parameters) < len(values):
            return None
        names: dict[str, Value] = dict(zip(parameters, values, strict=False))
        for one in parameters[len(values) :]:
            names[one] = self.unknown(("default", one))
        self._inlined.append(name)
        value = self._inline_body(helper.body, names, node)
        self._inlined.pop()
        for parameter, argument in zip(helper.parameters, arguments, strict=False):
            if parameter.type.reference and argument.type == "identifier":
                self.names[text_of(argument)] = names[parameter.name]
        return value

    def inline_lambda(self, known: Lambda, node: Node, arguments: list[Node]) -> Value:
        """The value of a lambda that was bound to a name."""
        values = [self.value(argument) for argument in arguments]
        body = known.node.child_by_field_name("body")
        declarator = known.node.child_by_field_name("declarator")
        if body is None or len(self._sites) >= INLINED:
            return self.unknown(("lambda", node.id))
        listed = declarator.child_by_field_name("parameters") if declarator is not None else None
        parameters = [
            declared(child.child_by_field_name("declarator"))[0]
            for child in (listed.named_children if listed is not None else ())
        ]
        names = {**self.names, **dict(zip(parameters, values, strict=False))}
        return self._inline_body(body, names, node)

    def _lambda(self, node: Node) -> Value:
        """A lambda that host code hands on, such as a dispatch's, runs where it stands."""
        body = node.child_by_field_name("body")
        if body is not None and not self.function.is_kernel and not self.function.is_device:
            outer, returned = dict(self.names), list(self.returned)
            self._run(body)
            self.names, self.returned = outer, returned
        return self.unknown(("lambda", node.id))

    def _inline_body(self, body: Node, names: dict[str, Value], site: Node) -> Value:
        outer, returned, guards = self.names, self.returned, len(self.guards)
        self.names, self.returned = names, []
        self._sites.append(site)
        self._run(body)
        self._sites.pop()
        values, self.names, self.returned = self.returned, outer, returned
        del self.guards[guards:]
        if len(values) == 1:
            return values[0]
        numbers = [value for value in values if isinstance(value, Poly)]
        if numbers and len(numbers) == len(values):
            kind = max(max(value.kind for value in numbers), Kind.UNIFORM)
            return self.atoms.opaque(("returned", *numbers), max(kind, Kind.VARYING))
        return self.unknown(("inlined", site.id))
