"""Loops: which code runs every step, and which of it is throttled.

`Loops.hot(node)` is what rules ask: why the code of a node runs every step, None where it does not
or where a condition makes it rare. The words are those of the catalogue: step loops, the hooks
that a framework calls per step, `forward` of a module, and functions of the file called from them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cudalint.facts.flow import COMPREHENSIONS, FUNCTIONS, LOOPS, within
from cudalint.facts.loops.steps import Steps
from cudalint.facts.loops.throttle import Throttle
from cudalint.facts.tensors.definitions import find_mentions, is_module_class, may_call
from cudalint.facts.tensors.tables import words
from cudalint.hooks import is_hook, is_step
from cudalint.reach import Reach, is_within
from cudalint.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tree_sitter import Node

    from cudalint.facts.python import PythonFacts

__all__ = ["Loops", "Reason"]

_APPLIES = words("map filter sorted max min apply tree_map apply_to_collection tree_map_only")


class Reason(NamedTuple):
    """Why code is hot: `kind` is "loop", "hook", "called" or "step"; `node` the loop or function."""

    kind: str
    node: Node


class Loops:
    """Hot and throttled code of one file."""

    def __init__(self, facts: PythonFacts) -> None:
        self.facts = facts
        self.steps = Steps(facts)
        self.throttle = Throttle(facts)
        self._loops: dict[int, bool] = {}
        self._functions: dict[int, str | None] = {}
        self._holders: dict[int, bool] = {}

    @cached_property
    def _ranges(self) -> tuple[int, ...]:
        """Where code may be hot, by names alone: known from the first look, as a rule."""
        if self.facts.hot is not None:
            return self.facts.hot
        return Reach.of(self.facts.text, self.facts.settings.hot_functions).ranges

    @property
    def any(self) -> bool:
        """Whether the file has anything that can make code hot: a step, a loader, a hook.

        Most files of a library have none, and are done without a look at who calls whom.
        """
        return bool(self._ranges)

    def may_run(self, place: int) -> bool:
        """Whether the code at an offset may be hot, by names alone: no tree is looked at."""
        return is_within(self._ranges, place)

    # -- questions ----------------------------------------------------------------------------

    def hot(self, node: Node) -> Reason | None:
        """Why the code of a node runs every step; None: it does not, or it is throttled."""
        if self.throttle.fails(node):
            return None
        reason = self.reason(node)
        if reason is None or self.throttle.between(node, reason.node):
            return None
        return reason

    def reason(self, node: Node) -> Reason | None:
        """As `hot`, whether throttled or not."""
        if not self.may_run(node.start_byte):
            return None
        child, parent = node, node.parent
        while parent is not None:
            if parent.type in LOOPS or parent.type in COMPREHENSIONS:
                if _repeats(parent, child) and self.is_step_loop(parent):
                    return Reason("loop", parent)
            elif parent.type == "lambda" and not self._runs_at_once(parent):
                return None
            elif parent.type == "function_definition":
                body = parent.child_by_field_name("body")
                kind = self.function_kind(parent) if body == child else None
                return None if kind is None else Reason(kind, parent)
            child, parent = parent, parent.parent
        return None

    def _runs_at_once(self, function: Node) -> bool:
        """Whether a lambda is called where it stands: `map(lambda …)`, not a message or a hook."""
        arguments = function.parent
        call = arguments.parent if arguments is not None else None
        if arguments is None or arguments.type != "argument_list" or call is None:
            return False
        word = self.facts.code(call.children[0]).rpartition(".")[2]
        return word in _APPLIES

    def describe(self, reason: Reason) -> str:
        """A reason in words for messages: "in the loop at line 12", "in `forward`"."""
        if reason.kind == "loop":
            return f"in the loop at line {self.facts.source.row(reason.node.start_byte) + 1}"
        name = reason.node.child_by_field_name("name")
        text = self.facts.code(name) if name is not None else "this function"
        return f"in `{text}`, which runs every step"

    def throttled(self, node: Node) -> bool:
        """Whether hot code is throttled: under a condition that makes it rare."""
        reason = self.reason(node)
        return reason is not None and self.throttle.between(node, reason.node)

    def step_loop(self, node: Node) -> Node | None:
        """The nearest step loop around a node in its function; None in hooks and called functions."""
        reason = self.reason(node)
        return reason.node if reason is not None and reason.kind == "loop" else None

    def without_grad(self, node: Node) -> bool:
        """Whether a node stands under `no_grad` or `inference_mode`."""
        return any(within(node, region) for region in self.steps.gradless_regions)

    # -- loops --------------------------------------------------------------------------------

    def is_step_loop(self, loop: Node) -> bool:
        """Whether a loop (or comprehension) runs steps itself, not only in a loop inside it."""
        if (known := self._loops.get(loop.id)) is None:
            self._loops[loop.id] = False  # a cycle adds nothing
            known = self._loops[loop.id] = self._is_step_loop(loop)
        return known

    def _is_step_loop(self, loop: Node) -> bool:
        if loop.type in COMPREHENSIONS:
            clauses = [node for node in loop.named_children if node.type == "for_in_clause"]
            return any(self._iterates_loader(clause) for clause in clauses)
        if self._iterates_loader(loop) or self.steps.trains(loop):
            return True
        if self._draws_batches(loop):
            return True
        return self.steps.evaluates(loop) and not self._holds_steps(loop)

    def _iterates_loader(self, loop: Node) -> bool:
        right = loop.child_by_field_name("right")
        if right is None or not self.steps.names_loader:
            return False
        return self.facts.loaders.source(right) is not None

    def _draws_batches(self, loop: Node) -> bool:
        """`batch = next(iterator of a loader)` in a loop's own statements."""
        if not self.steps.names_loader:
            return False
        for call in self.facts.calls("next", inside=loop):
            if self._own_loop(call) == loop:
                given = self.facts.names.arguments(call).positional
                if given and self.facts.loaders.source(given[0]) is not None:
                    return True
        return False

    def _own_loop(self, node: Node) -> Node | None:
        parent = node.parent
        while parent is not None and parent.type not in (*LOOPS, "function_definition"):
            parent = parent.parent
        return parent

    def _holds_steps(self, holder: Node) -> bool:
        """Whether a loop or function runs step loops inside, its calls in the file included."""
        stack = list(holder.named_children)
        while stack:
            node = stack.pop()
            if node.type in LOOPS and (self.steps.trains(node) or self._iterates_loader(node)):
                return True
            if (
                node.type == "call"
                and (function := node.child_by_field_name("function")) is not None
            ):
                definition = self.facts.names.definition(function)
                if definition is not None and self._has_step_loop(definition):
                    return True
            if node.type not in FUNCTIONS:
                stack.extend(node.named_children)
        return False

    def _has_step_loop(self, function: Node) -> bool:
        """Whether a function runs step loops, itself or by functions of the file that it calls."""
        if function.type != "function_definition":
            return False
        if (known := self._holders.get(function.id)) is None:
            self._holders[function.id] = False  # recursion adds nothing
            known = self._holders[function.id] = self._holds_steps(function)
        return known

    # -- functions ----------------------------------------------------------------------------

    def function_kind(self, function: Node) -> str | None:
        """Why a function runs every step ("hook", "called", "step"), None where it does not."""
        if function.id not in self._functions:
            self._functions[function.id] = None  # recursion adds nothing
            self._functions[function.id] = self._function_kind(function)
        return self._functions[function.id]

    def _function_kind(self, function: Node) -> str | None:
        node = function.child_by_field_name("name")
        name = self.facts.code(node) if node is not None else ""
        if self._is_hook(function, name):
            return "hook"
        sites = find_mentions(self.facts, function, self.may_run)  # others cannot be hot
        sites += self._passed(function, name, self.may_run)
        if any(self.hot(site) is not None and self._is_call_of(site, function) for site in sites):
            return "called"
        if sites or name.startswith("test") or name in ("main", "__init__", "__getitem__"):
            return None
        if not is_step(name) and not self._is_whole_step(function):
            return None
        is_called = self.facts.tensors.mentions(function) or self._passed(function, name)
        return None if is_called else "step"

    def _is_call_of(self, site: Node, function: Node) -> bool:
        return site.type != "call" or may_call(self.facts, site, function)

    def _is_hook(self, function: Node, name: str) -> bool:
        if name in self.facts.settings.hot_functions:
            return True
        holder = self.facts.names.enclosing(function, "class_definition", "function_definition")
        if holder is None or holder.type != "class_definition":
            return False
        if is_hook(name):
            return True
        return name == "forward" and is_module_class(self.facts, holder)

    def _is_whole_step(self, function: Node) -> bool:
        """Backward and an optimizer's step outside of loops: whoever calls it runs a step."""
        code = self.facts.code(function)
        if ".backward(" not in code or "step(" not in code:
            return False
        return self.steps.trains(function) and not self._has_step_loop(function)

    def _passed(
        self, function: Node, name: str, where: Callable[[int], bool] | None = None
    ) -> list[Node]:
        """Where a function is handed to a call: `optimizer.step(closure)`."""
        found = []
        for use in self.facts.identifiers(name, where=where) if name else ():
            parent = use.parent
            if parent is None or parent.type != "argument_list":
                continue
            if self.facts.names.definition(use) == function:
                found.append(use)
        return found


def _repeats(loop: Node, child: Node) -> bool:
    """Whether a child of a loop runs every turn: all but the iterable of a `for`, and its `else`."""
    if loop.type in LOOPS:
        return child != loop.child_by_field_name("right") and child.type != "else_clause"
    return True
