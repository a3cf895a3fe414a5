"""Calls of torch as operations: functions, methods and their aliases have one handler each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cudalint.facts.graph import layout
from cudalint.facts.graph.pool import constant, is_const, is_number
from cudalint.facts.graph.values import Slot, Value
from cudalint.records import record

if TYPE_CHECKING:
    from tree_sitter import Node

    from cudalint.facts.graph.builder import Builder


@record(eq=False)
class Call:
    """A call of a torch function or method: its operands in order, the tensor first."""

    node: Node
    name: str
    slots: list[Slot]
    keywords: dict[str, Slot]
    functional: bool = False  # of torch.nn.functional, whose softmax has other positions

    def slot(self, position: int, *keywords: str) -> Slot | None:
        for keyword in keywords:
            if keyword in self.keywords:
                return self.keywords[keyword]
        return self.slots[position] if position < len(self.slots) else None

    def get(self, position: int, *keywords: str) -> Value | None:
        found = self.slot(position, *keywords)
        return None if found is None else found.value

    @property
    def input(self) -> Slot | None:
        return self.slot(0, "input", "self", "x")

    def values(self) -> list[Value]:
        return [slot.value for slot in (*self.slots, *self.keywords.values())]


Handler = Callable[["Builder", Call], "Slot | None"]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


def operate(b: Builder, call: Call) -> Slot | None:
    """The result of an operation that the graph knows by meaning; None for all others."""
    handler = HANDLERS.get(call.name)
    if handler is None or call.input is None:
        return None
    return handler(b, call)


def dims_of(b: Builder, call: Call, position: int = 1) -> object:
    """The `dim` of a call as a tuple counted from the end where it can be; None if not given."""
    given = call.get(position, "dim", "axis")
    if given is None or is_const(given, None):
        return None
    inner = [slot.value for slot in b.elements.get(given.id, [])] or [given]
    value = call.input.value if call.input is not None else given
    if not all(is_number(dim) for dim in inner):
        return ("?", given.id)
    return tuple(sorted(layout.from_end(value, int(str(constant(dim)))) for dim in inner))
