"""Statements: read once, forward, with an environment from names to values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cudalint.facts.graph import containers
from cudalint.facts.graph import expressions as ex
from cudalint.facts.graph.classes import Classes
from cudalint.facts.graph.memory import SELF, bind, fresh, may_write, read, view, write
from cudalint.facts.graph.pool import Pool, TooLarge
from cudalint.facts.graph.scan import free_names
from cudalint.facts.graph.statements import LEAVING, STATEMENTS
from cudalint.facts.graph.values import Environment, Graph, Slot, Storage, Use

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts


class Builder:
    """Reads one function, and its small helpers in place, into a graph."""

    def __init__(self, facts: PythonFacts, classes: Classes, function: Node) -> None:
        self.facts = facts
        self.classes = classes
        self.function = function
        self.holder = classes.of(function)
        self.graph = Graph(function)
        self.pool = Pool(self.graph)
        self.pool.body = function
        self.env: Environment = {}
        self.frames: list[Environment] = [self.env]
        self.elements: dict[int, list[Slot]] = {}
        self.simple: dict[int, bool] = {}
        self.active: list[int] = []  # functions being read in place
        self.captured: dict[str, Node] = {}  # names that a closure reads, and where
        self.foreign: set[str] = set()  # names that other scopes write as well
        self.functions: dict[str, Node] = {}  # functions defined inside this one
        self.statement: Node | None = None
        self.epoch = 0
        self.nesting = 0
        self.result: Slot | None = None

    @property
    def depth(self) -> int:
        return len(self.active)

    def build(self) -> Graph:
        """The graph of the function; given up (and saying why) where it cannot be read."""
        body = self.function.child_by_field_name("body")
        try:
            self._bind_parameters()
            if body is not None and self.function.type == "lambda":
                self._expression(body)
            elif body is not None:
                self.block(body)
        except TooLarge:
            self.give_up("too large")
        return self.graph

    def give_up(self, reason: str) -> None:
        self.graph.opaque = self.graph.opaque or reason

    def _expression(self, body: Node) -> None:
        """Run what a lambda returns, as part of the statement that the lambda stands in."""
        self.statement = self.pool.statement = self.facts.names.statement(self.function)
        self.graph.before[self.statement.id] = dict(self.env)
        slot = ex.evaluate(self, body)
        slot.value.uses.append(Use("return", None, body))

    def _bind_parameters(self) -> None:
        given = self.function.child_by_field_name("parameters")
        for child in given.named_children if given is not None else ():
            name = child.child_by_field_name("name") or child
            while name.type != "identifier" and name.named_children:
                name = name.named_children[0]
            if name.type == "identifier":
                text = self.facts.code(name)
                value = self.pool.make("input", (), (text,), name)
                bind(self, text, Slot(value, Storage(external=True)), None)

    # -- what expressions ask of it -------------------------------------------------------------

    def is_local(self, node: Node) -> bool:
        """Whether a dotted name starts at a name of this function."""
        while node.type == "attribute":
            node = node.named_children[0]
        return node.type != "identifier" or self.facts.code(node) in self.env

    def tuple_of(self, slots: list[Slot], node: Node | None) -> Slot:
        made = self.pool.make("tuple", tuple([s.value for s in slots]), (), node, unique=True)
        self.elements[made.id] = slots
        return Slot(made, Storage(joined=tuple([slot.storage for slot in slots])))

    def function_of(self, node: Node) -> Node | None:
        """The lambda or function of this file that an expression names."""
        if node.type == "lambda":
            return node
        if node.type != "identifier":
            return None
        name = self.facts.code(node)
        if name in self.env:
            slot = self.env[name]
            if slot.value.op == "function" and slot.value.node is not None:
                read(slot, node)
                return slot.value.node
            return None
        found = self.facts.names.definition(node)
        if found is None or found.type != "function_definition":
            return None
        return found

    def scratch(self, node: Node) -> Slot:
        """The value of an expression of another place (`__init__`, a default), if it is plain."""
        if node.type in ("integer", "float", "none", "true", "false", "string", "unary_operator"):
            outer, self.env = self.env, {}
            try:
                return ex.evaluate(self, node)
            finally:
                self.env = outer
        return fresh(self.pool.make("elsewhere", (), (self.facts.code(node),), node))

    def capture(self, nested: Node) -> None:
        """A closure reads names: at any time, so they are used by more than is seen."""
        for name, node in free_names(self.facts, nested):
            self.captured[name] = node
            slot = self.env.get(name)
            if slot is not None:
                read(slot, node)
                slot.value.uses.append(Use("capture", None, node))

    # -- statements -----------------------------------------------------------------------------

    def block(self, block: Node) -> bool:
        """Run a block's statements; whether its end is reached."""
        for statement in block.named_children:
            if statement.type != "comment" and not self.run(statement):
                return False
        return True

    def run(self, statement: Node) -> bool:
        """Run one statement; whether what follows it is reached."""
        self.statement = self.pool.statement = statement
        if self.depth == 0:
            self.graph.before[statement.id] = dict(self.env)
        handler = STATEMENTS.get(statement.type)
        if handler is not None:
            return handler(self, statement)
        if statement.type not in ("pass_statement", "import_statement", "import_from_statement"):
            for child in statement.named_children:
                ex.evaluate(self, child)
        return statement.type not in LEAVING

    def body_value(self, body: Node, expression: bool) -> Slot:
        """What an inlined body returns: its last statement is its one return."""
        if expression:
            return ex.evaluate(self, body)
        self.result = None
        self.block(body)
        slot, self.result = self.result, None
        return slot if slot is not None else fresh(self.pool.const(None))

    def assign(self, target: Node, slot: Slot, statement: Node | None) -> None:
        """Bind an assignment target of any form."""
        kind = target.type
        if kind == "identifier":
            name = self.facts.code(target)
            if name in self.foreign:
                slot.value.uses.append(Use("store", None, target))
            bind(self, name, slot, statement)
        elif kind in ("pattern_list", "tuple_pattern", "list_pattern", "tuple", "list"):
            self._unpack(target, slot, statement)
        elif kind in ("parenthesized_expression", "as_pattern_target", "list_splat_pattern"):
            for child in target.named_children:
                self.assign(child, slot, statement)
        elif kind == "attribute":
            self._store_attribute(target, slot, statement)
        elif kind == "subscript":
            self._store_item(target, slot, statement)

    def _unpack(self, target: Node, slot: Slot, statement: Node | None) -> None:
        targets = [child for child in target.named_children if child.type != "comment"]
        if any(child.type == "list_splat_pattern" for child in targets):
            inner = self.pool.make("unknown", (slot.value,), ("unpack",), target, unique=True)
            for child in targets:
                self.assign(child, view(inner, slot), statement)
            return
        for child, item in zip(
            targets, containers.items(self, slot, len(targets), target), strict=True
        ):
            self.assign(child, item, statement)

    def _store_attribute(self, target: Node, slot: Slot, statement: Node | None) -> None:
        owner, field = target.child_by_field_name("object"), target.named_children[-1]
        slot.value.uses.append(Use("store", None, target))
        slot.storage.escape()
        if owner is not None and owner.type == "identifier" and self.facts.code(owner) == "self":
            bind(self, SELF + self.facts.code(field), slot, statement)
        elif owner is not None:
            base = ex.evaluate(self, owner)
            may_write(self, [base], statement, "attribute assigned")

    def _store_item(self, target: Node, slot: Slot, statement: Node | None) -> None:
        owner = target.child_by_field_name("value")
        if owner is None:
            return
        base = ex.evaluate(self, owner)
        indices = containers.indices_of(self, target)
        operands = (base.value, slot.value, *indices)
        made = self.pool.make("index_put", operands, (), target)
        made.shape = base.value.shape
        write(self, base, made, statement)
        slot.storage.escape()
