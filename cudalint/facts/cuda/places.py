"""Elements of arrays: what subscripts, pointers and references designate, loads and stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.cuda.access import Access, Pointer, Value
from cudalint.facts.cuda.affine import ZERO, Kind, Poly
from cudalint.facts.cuda.evaluate import DEPTH, Evaluator, text_of
from cudalint.facts.cuda.types import UNKNOWN

if TYPE_CHECKING:
    from tree_sitter import Node


class Places(Evaluator):
    """An evaluator that knows memory."""

    def place(self, node: Node | None) -> Pointer | str | None:
        """What an expression designates: an element, the name of a variable, or something else."""
        while node is not None and node.type == "parenthesized_expression":
            node = next((c for c in node.named_children if c.type != "comment"), None)
        if node is None or self._depth > DEPTH:
            return None
        if node.type == "identifier":
            known = self.names.get(text_of(node))
            if isinstance(known, Pointer) and known.slot:
                return known._replace(slot=False)
            return text_of(node)
        if node.type == "subscript_expression":
            return self._element(node)
        if node.type == "pointer_expression" and text_of(node.children[0]) == "*":
            value = self.value(node.child_by_field_name("argument"))
            return self._pointee(value, ZERO, node)
        if node.type == "field_expression":
            return self.place(node.child_by_field_name("argument"))
        if node.type == "call_expression":
            expanded = self.expanded_call(node)
            if expanded is not None:
                self._sites.append(node)
                place = self.place(expanded)
                self._sites.pop()
                return place if isinstance(place, Pointer) else None
        self.value(node)
        return None

    def _element(self, node: Node) -> Pointer | None:
        value = self.value(node.child_by_field_name("argument"))
        indices = node.child_by_field_name("indices")
        index: Poly = ZERO
        for child in indices.named_children if indices is not None else ():
            if child.type != "comment":
                index = self.number(child)
        return self._pointee(value, index, node)

    def _pointee(self, value: Value, index: Poly, node: Node) -> Pointer | None:
        if isinstance(value, Pointer):
            moved = self.moved(value, index)
            return moved._replace(sizes=moved.sizes[1:])
        return None

    def _subscript(self, node: Node) -> Value:
        element = self._element(node)
        if element is None:
            text = text_of(node)
            return (
                Pointer(text, "unknown", self.unknown(("in", node.id)), UNKNOWN)
                if (node.parent is not None and node.parent.type == "subscript_expression")
                else self.unknown(("element", node.id))
            )
        if element.sizes:
            return element
        return self.load(element, node)

    def load(self, element: Pointer, node: Node) -> Value:
        """The value at an element, noted as a load."""
        self.note(element, node, loads=True)
        if element.type.pointer > 1:
            pointee = element.type._replace(pointer=element.type.pointer - 1)
            return Pointer(f"*{element.base}", element.space, ZERO, pointee)
        known = element.space not in ("local", "unknown")
        kind = element.offset.kind_of_result if known else Kind.UNKNOWN
        return self.atoms.opaque(("load", node.id, element), kind)

    def note(
        self,
        element: Pointer,
        node: Node,
        loads: bool = False,
        stores: bool = False,
        atomic: bool = False,
    ) -> None:
        """Note an access to an element."""
        where = self._sites[0] if self._sites else node
        self.accesses.append(
            Access(
                where,
                element,
                loads,
                stores,
                atomic,
                tuple(self.loops),
                tuple(self.guards),
                bool(self._sites),
            )
        )

    def _pointer_expression(self, node: Node) -> Value:
        argument = node.child_by_field_name("argument")
        if text_of(node.children[0]) == "&":
            place = self.place(argument)
            if isinstance(place, Pointer):
                return place
            known = self.names.get(place) if place is not None else None
            if isinstance(known, Pointer):
                return known
            return Pointer(place or text_of(node), "local", ZERO, UNKNOWN)
        element = self._pointee(self.value(argument), ZERO, node)
        if element is None:
            return self.unknown(("pointee", node.id))
        return element if element.sizes else self.load(element, node)

    # Assignments

    def _assignment(self, node: Node) -> Value:
        operator = text_of(node.child_by_field_name("operator") or node)
        left = node.child_by_field_name("left")
        if left is None:
            return self._anything(node)
        right = self.value(node.child_by_field_name("right"))
        place = self.place(left)
        if isinstance(place, Pointer):
            self.note(place, left, loads=operator != "=", stores=True)
            return right
        if place is not None:
            plain = left.type == "identifier"
            before = self.names.get(place) or self.unknown(("undeclared", place))
            after = right if operator == "=" else self.combine(operator[:-1], before, right, node)
            self.names[place] = after if plain else self.unknown(("part", node.id))
            return after
        return right

    def _update(self, node: Node) -> Value:
        argument = node.child_by_field_name("argument")
        place = self.place(argument)
        by = Poly.of(1 if "++" in (text_of(node.children[0]), text_of(node.children[-1])) else -1)
        if isinstance(place, Pointer):
            self.note(place, argument or node, loads=True, stores=True)
            return self.unknown(("update", node.id))
        if place is None:
            return self.unknown(("update", node.id))
        before = self.names.get(place) or self.unknown(("undeclared", place))
        after = self.combine("+", before, by, node)
        self.names[place] = after
        return after if node.children[0].type in ("++", "--") else before
